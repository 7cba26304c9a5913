"""What a worker may use and what it gets of the daemon's surroundings."""

import contextlib
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import agentd
from agentd.errors import AgentCrashed, ConfigError
from tests.integration.conftest import _RUN, ROOT, environment, wait_until
from tests.integration.keepers import Limited

CANARY = "canary-of-the-environment"


@pytest.fixture(scope="module")
def limited(shared):
    limits = {"memory_bytes": 256 << 20, "files": 80}
    agent = Limited(to_dist={"endpoint": shared.endpoint, "limits": limits})
    yield agent
    agentd.handle(agent).kill()


def test_more_memory_than_allowed_is_a_memory_error_and_nothing_else(limited):
    assert limited.eat(1 << 20) == 1 << 20
    with pytest.raises(MemoryError):
        limited.eat(512 << 20)
    assert limited.eat(1 << 20) == 1 << 20


def test_more_descriptors_than_allowed_are_an_os_error(limited):
    with pytest.raises(OSError, match="Too many open files"):
        limited.open_many(80)


def test_an_agent_with_limits_lives_alone(limited, shared):
    other = Limited(to_dist=shared.endpoint)
    assert other.pid() != limited.pid()
    assert other.open_many(200) == 200
    [found] = [
        worker for worker in shared.client.info()["workers"] if worker["pid"] == limited.pid()
    ]
    assert found["dedicated"]


def test_over_its_processor_time_it_is_ended_and_that_is_said(shared):
    agent = Limited(to_dist={"endpoint": shared.endpoint, "limits": {"cpu_s": 1}})
    with pytest.raises(AgentCrashed, match="over its limit of 1 s of processor time") as caught:
        agent.spin()
    assert caught.value.signal == "SIGXCPU"
    assert agent.eat(10) == 10  # started again, with the same time anew
    agentd.handle(agent).kill()


@pytest.mark.parametrize(
    "limits", [{"memory": 1}, {"cpu_s": 0}, {"files": "many"}, {"memory_bytes": 1}, 5]
)
def test_limits_that_are_none(limits):
    with pytest.raises(ConfigError, match="limit"):
        Limited(to_dist={"limits": limits})


def test_no_core_file_and_no_new_privileges(limited, hosted):
    for agent in (limited, hosted(Limited)):
        assert agent.core_limit() == (0, 0)
        assert not agent.gains_privileges()


def test_it_has_no_descriptors_but_those_that_are_meant(hosted):
    known = re.compile(
        r"/dev/null|pipe:|socket:|anon_inode:\[?(eventfd|eventpoll|pidfd|signalfd)"
        r"|.*/d-[0-9a-f]+/w\d+\.run( \(deleted\))?$|/proc/\d+/fd$|pidfd:"
        r"|/memfd:agentd \(deleted\)$"
    )
    # Alone: a cancelled call of an agent beside it may have left a file of its own open.
    found = hosted(Limited, worker="dedicated").descriptors()
    assert [target for target in found.values() if not known.match(target)] == []


@contextlib.contextmanager
def _daemon(*, safe, **settings):
    """A daemon with a canary in its environment and an inheritable descriptor of a file."""
    bind = f"ipc://{tempfile.mkdtemp(prefix='c', dir=_RUN)}/s"
    program = (
        "import sys\n"
        "from agentd.config import ServerConfig\n"
        "from agentd.server.daemon import serve\n"
        "class Safe(ServerConfig): safe = True\n"
        f"settings = {settings!r}\n"
        "kind = ServerConfig\n"
        f"if {safe!r}:\n"
        "    if hasattr(ServerConfig, 'safe'): settings['safe'] = True\n"
        "    else: kind = Safe\n"
        f"sys.exit(serve(kind(bind=({bind!r},), workers=1, **settings)))\n"
    )
    with tempfile.TemporaryFile() as inherited:
        os.set_inheritable(inherited.fileno(), True)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program],
            env=environment(CANARY_KEY=CANARY, OTHER_THING="other"),
            cwd=ROOT,
            pass_fds=[inherited.fileno()],
        )
    try:

        def workers():
            assert process.poll() is None
            try:
                found = agentd.connect(bind).info()["workers"]
            except agentd.errors.DaemonNotFound:
                return None
            return all(w["state"] == "ready" for w in found) and found

        yield process.pid, [w["pid"] for w in wait_until(workers, "the workers")]
    finally:
        process.terminate()
        process.wait(30)


def _environ(pid):
    return Path(f"/proc/{pid}/environ").read_bytes()


def test_a_descriptor_that_the_daemon_inherited_goes_no_further():
    with _daemon(safe=False) as (daemon, workers):
        ours = {str(path.readlink()) for path in Path(f"/proc/{daemon}/fd").iterdir()}
        assert [t for t in ours if t.startswith(tempfile.gettempdir()) and "deleted" in t]
        for pid in workers:
            for path in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    target = str(path.readlink())
                    assert "deleted" not in target or target.endswith(".run (deleted)")


def test_outside_of_safe_mode_the_environment_is_the_daemons():
    with _daemon(safe=False) as (_pid, workers):
        assert all(CANARY.encode() in _environ(pid) for pid in workers)


def test_in_safe_mode_the_canary_is_where_it_has_to_be_and_nowhere_else():
    secrets = {"key": "env:CANARY_KEY"}
    with _daemon(safe=True, secrets=secrets, worker_env=("OTHER_*",)) as (pid, workers):
        assert CANARY.encode() in _environ(pid)  # it came with it
        for worker in workers:
            assert CANARY.encode() not in _environ(worker)
            assert b"OTHER_THING=other" in _environ(worker)
            limits = Path(f"/proc/{worker}/limits").read_text()
            assert re.search(r"Max core file size +0 +0", limits)
        for each in (pid, *workers):
            assert CANARY.encode() not in Path(f"/proc/{each}/cmdline").read_bytes()


CONFINED = """
import ctypes, resource
import os
from agentd.worker.confine import confine, leave_powers
leave_powers(os.geteuid())
confine({"cpu_s": 5}, safe=%s)
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[1],
      "NoNewPrivs:\\t1" in open("/proc/self/status").read(),
      resource.getrlimit(resource.RLIMIT_CPU)[0] in (6, 7))
"""


@pytest.mark.parametrize(("safe", "dumpable"), [(True, 0), (False, 1)])
def test_in_safe_mode_nobody_reads_its_memory(safe, dumpable):
    done = subprocess.run(
        [sys.executable, "-c", CONFINED % safe],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    assert done.stdout.split() == [str(dumpable), "0", "True", "True"]
    assert resource.getrlimit(resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY  # not ours
