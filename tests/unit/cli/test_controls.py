"""Whatever an agent or a daemon says, no command brings it to a terminal as it is."""

import re

import pytest
from click.testing import CliRunner

from agentd.errors import AgentCrashed, AgentdError, AgentNotFound, NameTaken
from agentd.printable import printable
from agentd_cli import logs, render
from agentd_cli.ctl import main
from agentd_cli.ctl.context import Ctl
from agentd_cli.serve import main as serve_main
from agentd_cli.text import escape
from tests.unit.cli.fakes import INFO, TALLY, FakeAgentd, Method, Proxy

CONTROLS = [chr(n) for n in (*range(0x20), 0x7F, *range(0x80, 0xA0))]
BIDI = list("\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068")
HOSTILE = "<" + "".join([*CONTROLS, *BIDI, "\u2069", "\ufeff", "\U000e0041", "\ud800"]) + ">"
PASTABLE = HOSTILE.replace("\0", "").replace("\ud800", "")
"""What can stand on a command line."""


def hostile(value):
    """The same facts, with all text and all keys beside them hostile."""
    if isinstance(value, str):
        return HOSTILE + value
    if isinstance(value, list):
        return [hostile(item) for item in value]
    if isinstance(value, dict):
        return {**{k: hostile(v) for k, v in value.items()}, HOSTILE: HOSTILE}
    return value


class EvilProxy(Proxy):
    shelf = hostile({"apples": ["x"]})
    say = Method(lambda: HOSTILE)
    opaque = Method(type(HOSTILE.replace("\0", "").replace("\ud800", ""), (), {}))
    raises = Method(lambda: _raise(ValueError(HOSTILE)))
    raises_ours = Method(lambda: _raise(AgentdError(HOSTILE)))
    raises_odd = Method(lambda: _raise(type("Odd\x1b[2J", (Exception,), {})(HOSTILE)))
    crashes = Method(
        lambda: _raise(AgentCrashed(HOSTILE, agent="a" * 32, name=HOSTILE, stderr_tail=HOSTILE))
    )

    def __init__(self, fake):
        super().__init__(fake)
        self.stream = Method(lambda: (item for item in (HOSTILE, {HOSTILE: HOSTILE}, object)))


def _raise(error):
    error.add_note(f"Remote traceback (most recent call last):\n{HOSTILE}")
    raise error


class EvilAgentd(FakeAgentd):
    endpoint = f"ipc:///{HOSTILE}"

    def __init__(self):
        super().__init__()
        self.found = [hostile(TALLY)]
        line = {"seq": 0, "time": 0.0, "stream": HOSTILE, "text": HOSTILE}
        self.pages = [{"lines": [line], "next": 1, "ended": True}]

    def info(self):
        return hostile(INFO)

    def inspect(self, ref):
        return hostile(TALLY) | {"methods": hostile({"add": {}}), "last_error": HOSTILE}

    def get(self, ref):
        if ref == "missing":
            raise AgentNotFound(HOSTILE, agent=HOSTILE)
        return EvilProxy(self)

    def create(self, path, /, *args, **kwargs):
        raise NameTaken(HOSTILE, name=HOSTILE)

    def delete(self, *refs):
        return [HOSTILE]


COMMANDS = [
    ("status",),
    ("agents",),
    ("create", "m:C"),
    ("create", PASTABLE),
    ("create", "m:C", "--kw", PASTABLE),
    ("create", "m:C", "--secret", PASTABLE),
    ("call", "tally", "say"),
    ("call", "tally", "say", "--raw"),
    ("call", "tally", "opaque"),
    ("call", "tally", "stream", "--stream"),
    ("call", "tally", "stream", "--stream", "--raw"),
    ("call", "tally", "raises"),
    ("call", "tally", "raises_ours"),
    ("call", "tally", "raises_odd"),
    ("call", "tally", "crashes"),
    ("call", "tally", PASTABLE),
    ("call", "tally", "shelf"),
    ("call", "missing", "say"),
    ("get", "tally", "shelf"),
    ("get", "tally", PASTABLE),
    ("inspect", "tally"),
    ("logs", "tally"),
    ("logs", PASTABLE),
    ("delete", PASTABLE),
    ("ping",),
    ("stop",),
    ("audit", "verify", PASTABLE),
    ("audit", "show", "."),
    ("keygen", PASTABLE),
    ("keygen", "client", "--name", PASTABLE),
    ("keys", "list"),
    ("keys", "add", PASTABLE, "--role", "caller"),
    ("keys", "add", f"uid:{PASTABLE}", "--role", PASTABLE),
    ("keys", "add", "uid:7", "--role", "caller", "--name", PASTABLE),
    ("keys", "add", "uid:7", "--role", "caller", "--expires", PASTABLE),
    ("keys", "revoke", PASTABLE),
    ("trust", "list"),
    ("trust", "add", PASTABLE, PASTABLE),
    ("trust", "remove", PASTABLE),
    ("doctor", f"--{PASTABLE}"),
    ("doctor",),
    ("completion", PASTABLE),
    (PASTABLE,),
    ("status", f"--{PASTABLE}"),
    (f"--{PASTABLE}",),
    ("call", "tally", "say", f"--{PASTABLE}"),
    ("--endpoint", PASTABLE, "ping"),
]


def obeyed(text, *, raw):
    """What in it would do more than to appear: a tab may stand in what is printed as it is."""
    keep = "\n\t" if raw else "\n"
    return [c for c in text if not c.isprintable() and c not in keep]


@pytest.mark.parametrize("options", [(), ("--json",), ("--traceback",)], ids=" ".join)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: ascii(" ".join(c))[:40])
def test_no_command_prints_what_a_terminal_obeys(command, options):
    done = CliRunner().invoke(
        main, [*command, *options], obj=Ctl(injected=EvilAgentd()), prog_name="agentctl"
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    raw = "--raw" in command or command[0] == "logs"
    assert obeyed(done.stdout, raw=raw) == []
    assert obeyed(done.stderr, raw=False) == []
    assert done.stdout or done.stderr


def test_every_command_is_in_the_table():
    assert {command[0] for command in COMMANDS} >= set(main.commands)


@pytest.mark.parametrize(
    "args",
    [(f"--{PASTABLE}",), ("--bind", PASTABLE), ("--config", f"/{PASTABLE}"), (PASTABLE,)],
    ids=lambda a: ascii(a)[:20],
)
def test_neither_does_agentd_serve(args):
    done = CliRunner().invoke(serve_main, ["serve", *args], prog_name="agentd")
    assert done.exit_code in (2, 78)
    assert obeyed(done.output, raw=False) == []


def test_the_commands_and_the_library_escape_alike():
    assert escape(HOSTILE) == printable(HOSTILE)
    assert escape(HOSTILE, keep="\n") == printable(HOSTILE, keep="\n")


SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(
    "text",
    [
        render.status(hostile(INFO), styled=True),
        render.agents([hostile(TALLY)], now=0, styled=True),
        render.record(hostile(TALLY), styled=True),
    ],
    ids=["status", "agents", "record"],
)
def test_a_styled_text_has_no_escapes_but_those_of_its_style(text):
    assert obeyed(SGR.sub("", text), raw=False) == []


@pytest.mark.parametrize("formatter", [logs.TextFormatter(), logs.JsonFormatter()])
def test_log_lines(formatter):
    import logging
    import sys

    try:
        raise ValueError(HOSTILE)
    except ValueError:
        info = sys.exc_info()
    record = logging.LogRecord("agentd", 30, "f", 1, "%s", (HOSTILE,), info)
    record.__dict__.update({"cls": HOSTILE, "agent_name": HOSTILE, HOSTILE: HOSTILE})
    assert obeyed(formatter.format(record), raw=False) == []
