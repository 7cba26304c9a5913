"""A canary secret is used, mishandled, and found nowhere."""

import contextlib
import json
import os
import traceback
from pathlib import Path

import pytest

import agentd
from agentd.errors import AgentCrashed, AgentCreationError, RemoteError, SecretNotFound
from tests.integration.conftest import _RUN, environment, wait_until
from tests.integration.keepers import Keeper, Unlucky

CANARY = "canary/of+the\\file-4711"
ARGUMENT = "canary-of-the-arguments"
SHOWN = "[secret openai]"

LOGGING = """
import logging, sys
logging.basicConfig(level="DEBUG", filename=sys.argv[1])
from agentd.config import ServerConfig
from agentd.server.daemon import serve
import ast
sys.exit(serve(ServerConfig(**ast.literal_eval(sys.argv[2]))))
"""


class Place:
    """A daemon that logs all it can, and everything that it left behind so far."""

    def __init__(self, folder, script):
        self.folder = folder
        self.key = folder / "key"
        self.key.write_text(CANARY + "\n")
        self.log = folder / "daemon.log"
        self.run = f"{_RUN}/{folder.name[-8:]}-{os.getpid()}"
        self.endpoint = f"ipc://{self.run}/s"
        Path(self.run).mkdir(0o700)
        settings = {
            "bind": (self.endpoint,),
            "run_dir": self.run,
            "workers": 2,
            "secrets": {"openai": f"file:{self.key}"},
            "audit_file": str(folder / "audit.jsonl"),
        }
        self.process = script.start(LOGGING, str(self.log), repr(settings), name="serve.py")
        wait_until(self._listens, "the daemon")

    def _listens(self):
        assert self.process.poll() is None, self.process.stderr.read()
        with contextlib.suppress(agentd.errors.DaemonNotFound):
            return agentd.connect(self.endpoint).ping()
        return False

    @property
    def client(self):
        return agentd.connect(self.endpoint)

    def lines(self, agent):
        return [line["text"] for line in self.client.logs(agentd.handle(agent).id)["lines"]]

    def find(self, *canaries):
        """Where one of them is."""
        needles = [form.encode() for c in canaries for form in (c, repr(c)[1:-1])]
        return [what for what, data in self._left() if any(n in data for n in needles)]

    def _left(self):
        for root, _folders, files in os.walk(self.run):
            for name in files:
                with contextlib.suppress(OSError):
                    yield name, Path(root, name).read_bytes()
        for file in self.folder.iterdir():
            if file != self.key and file.is_file():
                yield file.name, file.read_bytes()
        pids = [self.process.pid, *(w["pid"] for w in self.client.info()["workers"])]
        for pid in pids:
            for name in ("cmdline", "environ", "comm"):
                with contextlib.suppress(OSError):
                    yield f"{name} of {pid}", Path(f"/proc/{pid}/{name}").read_bytes()


@pytest.fixture
def place(tmp_path, script):
    one = Place(tmp_path, script)
    yield one
    one.process.terminate()
    one.process.wait(30)


def told(error):
    """All that a program could print of it."""
    return "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error.__cause__)


def test_a_canary_is_used_and_found_nowhere(place):
    # Given
    secret = agentd.Secret("openai")
    agent = Keeper(secret, to_dist=place.endpoint)
    assert agent.length() == len(CANARY)
    assert agent.take(ARGUMENT, {"x": [ARGUMENT]}, key=ARGUMENT) == 3
    errors = []

    # When it is printed, raised in all ways, streamed, sent one way; when the worker dies of it
    agent.say()
    agent.oneway_error.oneway()
    for how in ("plain", "chain", "attribute", "deep"):
        with pytest.raises(Exception) as caught:
            agent.error(how)
        errors.append(caught.value)
    with pytest.raises(ValueError, match="secret openai") as caught:
        list(agent.items())
    errors.append(caught.value)
    with pytest.raises(AgentCreationError) as caught:
        Keeper(secret, fail=True, to_dist=place.endpoint).length()
    errors.append(caught.value)
    wait_until(lambda: len(place.lines(agent)) >= 5, "what it printed")
    lines = place.lines(agent)
    assert agent.key == secret
    assert agent.config == {"nested": [secret]}
    assert agentd.handle(agent).fetch().key == secret
    with pytest.raises(AgentCrashed) as caught:
        agent.crash()
    errors.append(caught.value)

    # Then
    assert [type(e) for e in errors[:4]] == [ValueError, RuntimeError, Unlucky, RemoteError]
    assert all(SHOWN in told(error) for error in errors if type(error) is not RemoteError)
    assert [error for error in errors if CANARY in told(error)] == []
    assert sum(SHOWN in line for line in lines) >= 4
    assert [line for line in lines if CANARY in line] == []
    seen = repr([place.client.info(), place.client.agents(), agentd.handle(agent).info()])
    assert CANARY not in seen
    assert place.find(CANARY, ARGUMENT) == []
    place.process.terminate()
    _out, err = place.process.communicate(timeout=30)
    assert CANARY not in err
    audited = [json.loads(line) for line in (place.folder / "audit.jsonl").read_text().splitlines()]
    assert [record["action"] for record in audited] == ["offer", "create", "create"]
    assert place.log.stat().st_size > 0


def test_a_secret_that_is_not_there_is_told_to_the_caller(hosted):
    agent = hosted(Keeper, agentd.Secret("not_in_the_table"))
    with pytest.raises(SecretNotFound, match="put it into its setting secrets"):
        agent.length()
    with pytest.raises(SecretNotFound, match="NOT_SET is not set"):
        agent.direct("env:NOT_SET")


def test_a_direct_one_is_looked_up_where_the_worker_is(hosted):
    assert hosted(Keeper, agentd.Secret("env:PATH")).length() == len(environment()["PATH"])
