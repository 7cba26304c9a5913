"""What is relayed is handed on as it came: nobody copies what nobody changes."""

from agentd.server.relay import _unchanged


def test_what_is_relayed_is_the_same_memory_and_cannot_be_changed():
    content = bytearray(b"content")
    header, view = _unchanged([b"header", memoryview(content)])
    assert header == b"header"
    assert view.obj is content
    assert view.readonly
