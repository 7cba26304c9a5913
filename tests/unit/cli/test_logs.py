"""Log records as lines for people and as objects for programs."""

import io
import json
import logging

import pytest

from agentd_cli import logs


@pytest.fixture
def log():
    """``log("json")`` configures and gives the stream; the loggers are as before afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("agentd")
    before = root.handlers[:], ours.level

    def configure(format, level="info"):
        stream = io.StringIO()
        logs.configure(level, format, stream)
        return stream

    yield configure
    root.handlers[:] = before[0]
    ours.setLevel(before[1])
    logging.captureWarnings(capture=False)


def lost(message="worker lost", **extra):
    facts = {"action": "worker_lost", "worker": "w1", "exit_code": None, "signal": "SIGKILL"}
    logging.getLogger("agentd.server").info(message, extra=facts | extra)


def test_text(log):
    stream = log("text")
    lost(tail="two words", empty="")
    clock, rest = stream.getvalue().split(" ", 1)
    assert len(clock) == len("12:34:56")
    assert rest == 'info    worker lost worker=w1 signal=SIGKILL tail="two words" empty=""\n'


def test_text_escapes_what_agents_print(log):
    stream = log("text")
    lost("lost \x1b[31m\nfake line", tail='a "b"\n\x1b')
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue()[:-1].isprintable()
    assert stream.getvalue().endswith('tail="a \\"b\\"\\n\\x1b"\n')


def test_json(log):
    stream = log("json")
    lost(ports={1}, level="not this one")
    entry = json.loads(stream.getvalue())
    assert list(entry)[:4] == ["time", "level", "action", "message"]
    assert entry["time"].endswith("Z")
    assert entry | {"time": ""} == {
        "time": "",
        "level": "info",
        "action": "worker_lost",
        "message": "worker lost",
        "worker": "w1",
        "exit_code": None,
        "signal": "SIGKILL",
        "ports": "{1}",
    }


def test_json_is_one_line(log):
    stream = log("json")
    lost("a\nb\u2028c")
    assert stream.getvalue().isascii()
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_traceback(log, format):
    stream = log(format)
    try:
        raise ValueError("bad \x1b")
    except ValueError:
        logging.getLogger("agentd").exception("went wrong", extra={"action": "bug"})
    assert "ValueError: bad" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_levels(log):
    stream = log("text", level="warning")
    lost()
    assert stream.getvalue() == ""
    log("text", level="debug")
    logging.getLogger("agentd.x").debug("now")
    assert stream.getvalue() == "", "the second call replaced the first"


def test_others_are_heard_from_warnings_on(log):
    stream = log("text", level="debug")
    logging.getLogger("somebody").info("chatter")
    logging.getLogger("somebody").warning("look")
    assert stream.getvalue().endswith("warning look\n")
    assert stream.getvalue().count("\n") == 1
