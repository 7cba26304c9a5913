import os

import pytest

from agentd.client.context import CurrentCall, running
from agentd.client.redaction import Redactions
from agentd.worker import output
from agentd.worker.output import ATOMIC, TaggedStream

AGENT = b"\x0a" * 16
TAG = b"\0" + AGENT.hex().encode() + b" "


@pytest.fixture
def stream():
    read, write = os.pipe()
    os.set_blocking(read, False)
    one = TaggedStream(write)
    one.sent = lambda: os.read(read, 1_000_000)
    yield one
    os.close(read)
    os.close(write)


@pytest.fixture
def as_agent():
    token = running.set(CurrentCall(AGENT, 1))
    yield
    running.reset(token)


@pytest.mark.usefixtures("as_agent")
def test_whole_lines_go_out_at_once_with_their_tag(stream):
    assert stream.write("one\ntwo\nthr") == 11
    assert stream.sent() == TAG + b"one\n" + TAG + b"two\n"
    assert stream.partial
    stream.write("ee\n")
    assert stream.sent() == TAG + b"three\n"
    assert not stream.partial


def test_what_no_agent_prints_has_no_tag(stream):
    stream.write("plain\n")
    assert stream.sent() == b"plain\n"


@pytest.mark.usefixtures("as_agent")
def test_flush_ends_the_line(stream):
    stream.write("rest")
    stream.flush()
    stream.flush()
    assert stream.sent() == TAG + b"rest\n"


@pytest.mark.usefixtures("as_agent")
def test_every_piece_fits_a_pipe_in_one_piece(stream):
    stream.write("é" * 10_000 + "\n")
    lines = stream.sent().splitlines()

    assert all(len(line) + 1 <= 4096 for line in lines)
    assert all(line.startswith(TAG) for line in lines)
    assert sum(len(line) - len(TAG) for line in lines) == 20_000
    stream.write("x" * (ATOMIC + 1))
    assert not stream.partial


@pytest.mark.usefixtures("as_agent")
def test_nul_and_lone_surrogates(stream):
    stream.write("a\0b\ud800c\n")
    assert stream.sent() == TAG + b"a\\0b?c\n"


@pytest.mark.usefixtures("as_agent")
def test_empty_lines_are_kept(stream):
    stream.writelines(["\n", "\n"])
    assert stream.sent() == TAG + b"\n" + TAG + b"\n"


def test_partial_lines_of_two_agents_do_not_mix(stream):
    for name in (b"\x01", b"\x02"):
        token = running.set(CurrentCall(name * 16, 1))
        stream.write(f"{name[0]}")
        running.reset(token)
    for name in (b"\x01", b"\x02"):
        token = running.set(CurrentCall(name * 16, 1))
        stream.write("!\n")
        running.reset(token)

    assert [line[-2:] for line in stream.sent().splitlines()] == [b"1!", b"2!"]


class TestSecrets:
    VALUE = "canary-of-output"

    @pytest.fixture(autouse=True)
    def _revealed(self, monkeypatch):
        found = Redactions()
        found.add("key", self.VALUE)
        monkeypatch.setattr(output, "redactions", found)

    def test_are_left_out(self, stream):
        stream.write(f"it is {self.VALUE}\n")
        assert stream.sent() == b"it is [secret key]\n"

    def test_also_if_they_come_in_pieces(self, stream):
        for char in f"it is {self.VALUE}":
            stream.write(char)
        stream.write("\n")
        assert stream.sent() == b"it is [secret key]\n"

    @pytest.mark.parametrize("before", range(ATOMIC - 30, ATOMIC + 5))
    def test_also_across_the_pieces_of_an_endless_line(self, stream, before):
        for text in ("x" * before, self.VALUE[:7], self.VALUE[7:], "y" * ATOMIC, "\n"):
            stream.write(text)
        told = stream.sent().replace(b"\n", b"")
        assert self.VALUE.encode() not in told
        assert told.count(b"x") == before
        assert told.count(b"[secret key]") == 1
