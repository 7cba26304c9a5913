"""kill -9 of a client: its embedded daemon goes with it; in another daemon its agents end."""

import subprocess
import time

import pytest

from tests.faults.harness import ROUNDS, dice, measured, wait_until

CLIENT = """
import sys, os, time
from tests.faults.victims import Victim
agent = Victim(to_dist=True)
print(agent.pid(), flush=True)
{more}
sys.stdin.read()
"""


def client(place, more=""):
    return place.run(
        CLIENT.format(more=more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def test_its_embedded_daemon_leaves_nothing(place):
    process = client(place)
    assert int(process.stdout.readline())
    assert len(place.processes()) >= 3

    process.kill()
    process.wait()

    measured("kill -9 of a client until its embedded daemon is gone", place.clean())


def test_during_a_call(place):
    process = client(place, "agent.slow(60)")
    process.stdout.readline()
    time.sleep(0.2)

    process.kill()
    process.wait()

    place.clean()


@pytest.mark.parametrize("delay", [0.1, 0.2, 0.3, 0.4, 0.5, 0.7])
def test_while_the_embedded_daemon_starts(place, delay):
    process = client(place)
    time.sleep(delay * dice().uniform(0.8, 1.2))

    process.kill()
    process.wait()

    place.clean()


def test_random_moments(place):
    chance = dice()
    for _ in range(4 * ROUNDS):
        process = client(place)
        time.sleep(chance.uniform(0.1, 0.8))
        process.kill()
        process.wait()
        place.clean()


def test_an_ordinary_end_leaves_nothing_either(place):
    process = client(place)
    process.stdout.readline()

    process.stdin.close()

    assert process.wait(20) == 0
    place.clean()


def test_a_forked_child_that_outlives_it_holds_up_nothing(place):
    process = client(place, "if os.fork() == 0: time.sleep(60)\nprint('forked', flush=True)")
    process.stdout.readline()
    assert process.stdout.readline() == b"forked\n"

    process.kill()
    process.wait()

    def only_the_child():
        return not place.files() and len(place.processes()) == 1

    wait_until(only_the_child, "all but the child to go", 10)


def test_in_a_shared_daemon_its_agents_end_and_the_named_stay(start):
    daemon = start()
    program = (
        "import sys; from tests.faults.victims import Victim\n"
        "one = Victim(to_dist=sys.argv[1]); one.add()\n"
        "two = Victim(to_dist={'endpoint': sys.argv[1], 'name': 'stays'}); two.add()\n"
        "print('made', flush=True); sys.stdin.read()"
    )
    process = daemon.run(program, daemon.endpoint, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"made\n"
    assert len(daemon.client.agents()) == 2

    process.kill()
    process.wait()

    wait_until(lambda: len(daemon.client.agents()) == 1, "the client's agent to end")
    assert daemon.client.get("stays").add() == 2
