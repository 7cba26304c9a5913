"""Endpoints of TCP: how they are written, and what they stand for."""

import pytest

from agentd.errors import ConfigError
from agentd.transport.endpoint import TcpEndpoint, parse_tcp
from agentd.transport.rundir import is_tcp


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("tcp://127.0.0.1:5577", "127.0.0.1", 5577),
        ("tcp://[::1]:1", "::1", 1),
        ("tcp://host.example:0", "host.example", 0),
        ("TCP://Host:65535", "Host", 65535),
    ],
)
def test_what_is_read(text, host, port):
    assert parse_tcp(text) == TcpEndpoint(host, port)
    assert str(parse_tcp(text)) == text.replace("TCP", "tcp")


@pytest.mark.parametrize(
    "text",
    [
        "tcp://*:1", "tcp://h", "tcp://h:", "tcp://h:65536", "tcp://::1:5", "tcp://:1", "tcp://h:1/",
        "tcp:h:1", "tcp://h:1;tcp://h:2", "tcp://a;b:1:2", "tcp://h:1\n", "ipc:///x", "tcp://[]:1",
    ],
)  # fmt: skip
def test_what_is_refused(text):
    with pytest.raises(ConfigError, match="write tcp://HOST:PORT"):
        parse_tcp(text)


def test_tcp_is_seen_however_it_is_written():
    assert all(map(is_tcp, ("tcp://x:1", "TCP://x:1", "tcp:x")))
    assert not is_tcp("ipc:///tcp://x")


def test_addresses_are_numeric():
    assert parse_tcp("tcp://127.0.0.1:5").addresses() == [TcpEndpoint("127.0.0.1", 5)]
    assert parse_tcp("tcp://[::1]:5").addresses() == [TcpEndpoint("::1", 5)]
    with pytest.raises(ConfigError, match="cannot be found"):
        parse_tcp("tcp://no-such-host.invalid:5").addresses()
