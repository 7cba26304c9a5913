"""Every kind of hostile peer, at every door, one after the other: the daemon outlives them all.

What each does is in ``benchmarks/hostile/kinds.py``; how long others wait is measured there, too.
"""

import os
import time

import pytest

import agentd
from benchmarks.hostile.kinds import KINDS
from benchmarks.hostile.lines import DOORS
from benchmarks.hostile.peer import Peer
from benchmarks.rows.hostile import SETTINGS, target_at
from benchmarks.served import served
from tests.faults.harness import LONG_S, wait_until

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
