"""A client elsewhere that stood still for longer than its lease: it comes back as a new one."""

import signal
import subprocess

import pytest

from tests.faults.harness import wait_until

CLIENT = """
import sys, agentd
client = agentd.connect(sys.argv[1])
client.ping()
print("here", flush=True)
sys.stdin.readline()
print("answered" if client.ping() < 60 else "", flush=True)
"""


@pytest.fixture
def door(door):
    """One through which its client may come."""
    door.grant()
    return door


def test_who_outlived_its_lease_on_a_connection_that_holds_is_served_again(door, place):
    door.open(door.build, client_grace_s=0.5)
    program = place.run(
        CLIENT, door.endpoint, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout.readline() == "here\n"
    sessions = lambda: door.daemon.client.info()["sessions"]  # noqa: E731
    before = sessions()
    program.send_signal(signal.SIGSTOP)
    wait_until(lambda: sessions() < before, "its lease to run out")
    program.send_signal(signal.SIGCONT)

    program.stdin.write("\n")
    program.stdin.flush()

    assert program.stdout.readline() == "answered\n"
