"""One socket, one daemon: a second one says so and harms nothing."""

import socket
import subprocess
import time

from tests.faults.harness import Daemon, Thread
from tests.faults.victims import Victim


def second_of(daemon, **settings):
    return Daemon(bind=(daemon.endpoint,), run_dir=daemon.folder, **settings)


def test_it_is_refused_and_the_first_one_unharmed(start):
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    agent.add()
    call = Thread(lambda: agent.slow(1.0))
    second = second_of(daemon)
    try:
        second.start(wait=False)

        assert second.process.wait(20) == 1
        assert "EndpointInUse" in second.said()
        assert "agentctl stop" in second.said()
    finally:
        second.end()
    assert call.done() == 1.0
    assert agent.add() == 2
    assert daemon.client.ping() < 5


def test_its_folders_are_gone(start):
    daemon = start()
    daemon.workers_ready()
    before = sorted(daemon.files())
    second = second_of(daemon)
    try:
        second.start(wait=False)
        second.process.wait(20)
    finally:
        second.end()

    assert sorted(daemon.files()) == before


def test_a_socket_file_that_nobody_listens_on_is_taken_over(start):
    daemon = Daemon()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(f"{daemon.folder}/s")
    stale.close()
    try:
        daemon.start()
        assert Victim(to_dist=daemon.endpoint).add() == 1
    finally:
        daemon.end()


def test_of_many_that_start_at_once_one_wins(start):
    first = Daemon()
    others = [second_of(first) for _ in range(3)]
    try:
        for one in (first, *others):
            one.start(wait=False)
        deadline = time.monotonic() + 30
        while sum(one.process.poll() is None for one in (first, *others)) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        first.client.ping()
        codes = sorted(str(one.process.poll()) for one in (first, *others))
        assert codes == ["1", "1", "1", "None"]
    finally:
        for one in (*others, first):
            one.end()


def test_a_lock_that_somebody_else_holds_for_long_is_respected(start):
    daemon = Daemon()
    holder = daemon.run(
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()",
        f"{daemon.folder}/s.lock",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    try:
        daemon.start(wait=False)
        assert daemon.process.wait(20) == 1
        assert "EndpointInUse" in daemon.said()
    finally:
        daemon.end()
