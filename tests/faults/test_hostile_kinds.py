"""Every kind of hostile peer, at every door, one after the other: the daemon outlives them all.

What each does is in ``benchmarks/hostile/kinds.py``; how long others wait is measured there, too.
"""

import os
import time

import pytest

import agentd
from agentd.client.runtime import runtime
from benchmarks.hostile.kinds import KINDS
from benchmarks.hostile.lines import DOORS, Target
from benchmarks.hostile.peer import Peer
from benchmarks.rows.hostile import SETTINGS, target_at
from benchmarks.served import served
from tests.faults.harness import LONG_S, wait_until
from tests.faults.test_worker_doors import PORTS

HARM_S = 2.0


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_no_kind_of_hostile_peer_ends_a_daemon(door):
    with served(SETTINGS, len(KINDS)) as daemon:
        polite = agentd.connect(daemon.ipc, direct=False).create("benchmarks.hosted:Echo")
        theirs = agentd.connect(daemon.ipc).create("benchmarks.hosted:Echo")
        for kind in KINDS:
            target = target_at(door, daemon, theirs)._replace(secret=daemon.secrets.pop().hex())
            with Peer(kind, target):
                ends = time.monotonic() + HARM_S
                while time.monotonic() < ends:
                    assert polite.echo(kind) == kind
                    time.sleep(0.001)
            # What it left behind is cleared away, and who comes in is served.
            assert wait_until(lambda: agentd.connect(daemon.ipc).info()["pid"], kind, LONG_S)
            assert theirs.echo(kind) == kind
        os.kill(daemon.pid, 0)


@pytest.mark.slow
def test_nor_a_worker_on_the_network():
    with served(f'{SETTINGS}worker_ports = "{PORTS}"\n', len(KINDS)) as daemon:
        client = agentd.connect(daemon.tcp)
        polite, theirs = (client.create("benchmarks.hosted:Echo") for _ in range(2))
        handle = agentd.handle(theirs).wait(LONG_S)
        place = runtime().session_at(daemon.tcp).places.locate(bytes.fromhex(handle.id))
        [worker] = agentd.connect(daemon.ipc).info()["workers"]
        assert place.port == worker["port"] != 0
        for kind in KINDS:
            target = Target(
                "curve",
                f"127.0.0.1:{place.port}",
                handle.id,
                place.epoch,
                place.key.hex(),
                daemon.secrets.pop().hex(),
            )
            with Peer(kind, target):
                ends = time.monotonic() + HARM_S
                while time.monotonic() < ends:
                    assert polite.echo(kind) == kind
                    time.sleep(0.001)
            assert theirs.echo(kind) == kind
        [still] = agentd.connect(daemon.ipc).info()["workers"]
        assert still["pid"] == worker["pid"]
