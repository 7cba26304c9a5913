"""The README is true: its lines run as they are written, its tables name what there is."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest

import agentd
from agentd_cli.ctl import main as agentctl_main
from tests.acceptance.harness import (
    BIN,
    LONG_S,
    ROOT,
    Done,
    environment,
    listens,
    processes_of,
    run,
    wait_until,
)

TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS if found == kind]


(
    FIVE_LINES, TWO_WAYS, FORMS, ASYNC_FORMS, CHAIN, TOKENS, HANDLE, CONNECT, STATE, FILES,
    TWO_HOSTS,
) = blocks("python")  # fmt: skip

LIBRARIAN = """
import agentd

class Librarian(agentd.Agent):
    def __init__(self, shelf): self.shelf = shelf
    def ask(self, question): return f"{self.shelf}: {question}"
"""


def table(head: str) -> list[list[str]]:
    """The cells of the table with that head, without backquotes."""
    lines = TEXT[TEXT.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def run_python(text: str, tmp_path: Path, run_dir: str) -> str:
    """What it prints; it must not complain, and leave nothing behind."""
    file = tmp_path / "program.py"
    file.write_text(text)
    done = run(sys.executable, file, env=environment(run_dir), cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    return done.out


def test_all_blocks_are_known():
    assert [kind for kind, _ in BLOCKS] == [
        *("sh", "python", "python", "", "python", "python", "python", "python", "python"),
        *("console", "python", "console", "python", "python", "console", "python"),
    ]


def test_the_two_commands_at_the_top_are_targets(run_dir):
    env = {k: v for k, v in environment(run_dir).items() if not k.startswith("MAKE")}
    [text] = blocks("sh")
    for line in text.splitlines():
        command = shlex.split(line, comments=True)
        dry = subprocess.run(
            [*command, "--dry-run"], cwd=ROOT, env=env, text=True, capture_output=True, check=False
        )
        assert dry.returncode == 0, dry.stderr
        expected = {"run": "examples/librarian.py", "test": "pytest"}[command[1]]
        assert expected in dry.stdout


def test_five_lines(tmp_path, run_dir):
    assert run_python(FIVE_LINES, tmp_path, run_dir) == "6\n"
    assert processes_of(run_dir) == {}


def test_two_ways(tmp_path, run_dir):
    check = """
import inspect
assert type(a) is type(b) and isinstance(b, Librarian)
assert a.ask("why") == b.ask("why") == "stdlib: why"
"""
    run_python(LIBRARIAN + TWO_WAYS + check, tmp_path, run_dir)
    assert processes_of(run_dir) == {}


def test_what_cannot_travel_is_named_in_these_words(tmp_path, run_dir):
    [text] = blocks("")
    program = """
import sqlite3
import agentd

class Index:
    def __init__(self): self.conn = sqlite3.connect(":memory:")

class Shelf(agentd.Agent):
    def __init__(self): self.index = Index()

try:
    Shelf().to_dist()
except agentd.errors.AgentdError as error:
    print(f"{error.code}: {error}")
"""
    shown = text.strip().removesuffix("…").strip()
    assert run_python(program, tmp_path, run_dir).startswith(shown)


TALKER = """
import asyncio
import agentd

class Talker(agentd.Agent):
    def __init__(self): self.notes = []
    def ask(self, question): return f"asked {question}"
    def talk(self, text):
        yield from (text, text)
    def note(self, text): self.notes.append(text)
    def use(self, value): self.notes.append(value)

agent, other = Talker(to_dist=True), Talker(to_dist=True)
words = []
"""


def test_the_forms_of_a_call(tmp_path, run_dir):
    check = """
assert future.result() == "asked …"
assert words == ["…", "…"]
assert agent.notes == ["…"]
assert other.notes == ["asked …"]
"""
    forms = FORMS.replace(": ...  ", ": words.append(word)  ")
    assert run_python(TALKER + forms + check, tmp_path, run_dir) == ""


def test_the_forms_for_asyncio(tmp_path, run_dir):
    body = textwrap.indent(ASYNC_FORMS.replace(": ...", ": words.append(word)"), "    ")
    program = f"""{TALKER}
async def main(agent):
{body}
asyncio.run(main(agent))
assert words == ["…", "…"]
"""
    assert run_python(program, tmp_path, run_dir) == ""


def test_results_are_passed_on_without_fetching_them(tmp_path, run_dir):
    prelude = """
import os
import agentd

class Value:
    def __init__(self, text, seen_by): self.text, self.seen_by = text, seen_by
    def __setstate__(self, state):
        self.__dict__.update(state)
        self.seen_by = [*self.seen_by, os.getpid()]
    def __str__(self): return self.text

class Colleague(agentd.Agent):
    def __init__(self, name): self.name = name
    def work(self, value):
        return Value(f"{value}, {self.name}", getattr(value, "seen_by", []))

researcher, writer, editor = (Colleague(name, to_dist=True) for name in "rwe")
"""
    check = """
*agents, here = result.result().seen_by
assert len(agents) == 2 and here == os.getpid() not in agents
"""
    assert run_python(prelude + CHAIN + check, tmp_path, run_dir) == "a topic, r, w, e\n"


def test_tokens_are_streamed(tmp_path, run_dir):
    prelude = """
import agentd

class Talker(agentd.Agent):
    def __init__(self): self.ended = None
    def talk(self, text):
        try:
            yield from (text, " that is ", "enough")
            yield from "too much" * 10_000
            self.ended = "by itself"
        finally:
            self.ended = self.ended or "early"

agent = Talker(to_dist=True)
"""
    check = "\nprint()\nprint(agent.ended)\n"
    printed = run_python(prelude + TOKENS + check, tmp_path, run_dir)
    assert printed == "… that is enough\nearly\n"


def test_handles(tmp_path, run_dir):
    prelude = LIBRARIAN + 'agent = Librarian("stdlib", to_dist=True)\n'
    check = """
try:
    agent.ask("…")
except agentd.errors.AgentNotFound:
    print("deleted at the end")
"""
    assert run_python(prelude + HANDLE + check, tmp_path, run_dir) == "deleted at the end\n"


def test_state_in_step(tmp_path, run_dir):
    program = FIVE_LINES.partition("if __name__")[0] + "counter = Counter(5, to_dist=True)\n"
    check = """
assert (copy.value, seen) == (5, (7, 2))
assert counter.value == 7
"""
    state = STATE.replace(": ...  ", ": break  ")
    assert run_python(program + state + check, tmp_path, run_dir) == ""


FILER = """
import os
from pathlib import Path
import agentd

class Filer(agentd.Agent):
    def report(self):
        Path("report.pdf").write_bytes(b"%PDF" + bytes(10))
        return agentd.File("report.pdf")

    def read(self, file):
        with open(file, "rb") as opened:
            return opened.read()

os.mkdir("there")
os.chdir("there")
agent, other = Filer(to_dist=True), Filer(to_dist=True)
os.chdir("..")
"""


def test_files(tmp_path, run_dir):
    check = """
assert Path("here.pdf").read_bytes() == other.read(file) == b"%PDF" + bytes(10)
assert (file.name, file.size) == ("report.pdf", 14)
assert sorted(os.listdir()) == ["here.pdf", "program.py", "there"]
"""
    assert run_python(FILER + FILES + check, tmp_path, run_dir) == "14 14\n"


class Shell:
    """One interactive-like bash in the clone's root, fed line by line."""

    def __init__(self, run_dir: str) -> None:
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=ROOT,
            env=environment(run_dir),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def type(self, line: str) -> str:
        """What the line printed."""
        self.process.stdin.write(f'{line}\necho "done: $?"\n')
        self.process.stdin.flush()
        printed = ""
        while not (answer := self.process.stdout.readline()).startswith("done: "):
            assert answer, "the shell ended"
            printed += answer
        assert answer == "done: 0\n", line
        return printed

    def end(self) -> Done:
        out, err = self.process.communicate(timeout=LONG_S)
        return Done(self.process.returncode, out, err)


@pytest.fixture
def shell(run_dir):
    one = Shell(run_dir)
    yield one
    one.process.kill()
    one.process.communicate()


def type_block(shell, text):
    """Type its lines; each prints what is shown, up to the ellipsis. What the last one printed."""
    printed = ""
    for prompt in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, shown = prompt.partition("\n")
        printed = shell.type(line)
        if shown:
            found, told = (re.sub(r"^[0-9a-f]{32}$", "ID", s, flags=re.M) for s in (printed, shown))
            start, ellipsis, _ = told.partition("…")
            assert found.startswith(start) if ellipsis else found == told
    return printed


def test_a_daemon_for_several_programs(shell, tmp_path, run_dir):
    first, streamed, _two_hosts = blocks("console")
    printed = type_block(shell, first)
    assert re.search(r" tally +counter:Counter +ready ", printed)
    printed = type_block(shell, streamed)
    assert len(printed.split()) == 26

    check = '\nassert tally.value == 7\nassert agentd.connect().endpoint.endswith("agentd.sock")\n'
    run_python(CONNECT + check, tmp_path, run_dir)
    assert shell.type("agentctl get tally value") == "7\n"
    shell.type("agentctl stop")
    shell.type("wait %1")
    assert shell.end().code == 0
    assert processes_of(run_dir) == {}


def test_every_verb_is_named():
    line = re.search(r"`agentctl (status \| [^`]*)`", TEXT).group(1)
    named = {word.strip().removesuffix(" [-f]") for word in line.split("|")}
    assert named | {"completion"} == set(agentctl_main.commands)


def test_every_option_is_named():
    cells = [cells[0] for cells in table("| option | default |")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named | {"host", "port"} == {field.name for field in fields(agentd.DistConf)}


def test_the_defaults_are_true():
    defaults = agentd.DistConf()
    for option, default, _ in table("| option | default |"):
        match option.strip("`"):
            case "get_if_exists" | "worker" | "reentrant" | "busy" as name:
                assert repr(getattr(defaults, name)).replace("'", '"') == default.strip("`")
            case "max_concurrency" | "mailbox" as name:
                assert f"{getattr(defaults, name):,}" == default
            case "timeout`, `retry":
                assert default == "none"
                assert defaults.timeout is defaults.retry is None
            case "lifetime":
                assert default == '`"client"`; with a name `"daemon"`'
                assert defaults.effective_lifetime == "client"
                assert agentd.DistConf(name="x").effective_lifetime == "daemon"


def test_the_errors_are_there():
    for named, _, _ in table("| you see | it means |"):
        for name in re.findall(r"`(\w+)`", named):
            assert issubclass(getattr(agentd.errors, name), agentd.errors.AgentdError)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / target).exists(), target


def test_ctrl_c_ends_a_daemon_of_the_foreground(run_dir):
    """As the README says nothing else, a person will press it."""
    process = subprocess.Popen(
        ["agentd", "serve", "--workers", "1"],
        env=environment(run_dir),
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: listens(f"ipc://{run_dir}/agentd/agentd.sock"), "agentd serve")
    # A terminal sends it to the whole foreground group, workers and all.
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=LONG_S)
    assert process.returncode == 0
    assert b"Traceback" not in err
    assert processes_of(run_dir) == {}


def test_two_hosts_in_five_commands(tmp_path, run_dir):
    """As one host with two homes; with a network between them: tests/faults/test_two_hosts.py."""
    _, _, text = blocks("console")
    homes = {name: tmp_path / name for name in ("laptop", "server")}
    env = {}
    for name, home in homes.items():
        home.mkdir(mode=0o700)
        env[name] = environment(run_dir, AGENTD_CONFIG_DIR=str(home), PYTHONUNBUFFERED="")
    served = None
    port = _free_port()
    try:
        for line in text.splitlines():
            name, _, command = line.partition("$ ")
            args = [
                {
                    "client.pub": str(homes["laptop"] / "client.pub"),
                    "server.pub": str(homes["server"] / "server.pub"),
                    "tcp://0.0.0.0:5577": f"tcp://0.0.0.0:{port}",
                    "tcp://server:5577": f"tcp://127.0.0.1:{port}",
                }.get(word, word)
                for word in shlex.split(command)
            ]
            if args[-1] == "&":
                log = (tmp_path / "log").open("w")
                served = subprocess.Popen(
                    [str(BIN / args[0]), *args[1:-1], "--workers", "1"], env=env[name], stderr=log
                )
                log.close()
                wait_until(lambda: "listening" in (tmp_path / "log").read_text(), "the daemon")
            else:
                done = run(*args, env=env[name])
                assert done.code == 0, done.err
        (tmp_path / "librarian.py").write_text(LIBRARIAN)
        lines = TWO_HOSTS.replace("server:5577", f"127.0.0.1:{port}")
        program = f"from librarian import Librarian\n{lines}\nprint(agent.ask('what?'))\n"
        (tmp_path / "program.py").write_text(program)
        done = run(sys.executable, tmp_path / "program.py", env=env["laptop"], cwd=tmp_path)
        assert (done.code, done.out) == (0, "stdlib: what?\n"), done.err
        assert run("agentctl", "keys", "revoke", "laptop", env=env["server"]).code == 0
        assert run("agentctl", "doctor", "--security", env=env["server"]).code == 0
    finally:
        if served is not None:
            served.terminate()
            assert served.wait(LONG_S) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
