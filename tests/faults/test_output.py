"""What agents print: much of it stalls nobody, and the last of it is kept."""

import time

import pytest

import agentd
from agentd.errors import AgentCrashed
from tests.faults.harness import Thread, measured, wait_until
from tests.faults.victims import Victim

LINES = 100_000


def test_many_lines_stall_neither_the_daemon_nor_others(start):
    daemon = start(workers=2, log_lines=1000)
    loud, quiet = Victim(to_dist=daemon.endpoint), Victim(to_dist=daemon.endpoint)
    loud.add(), quiet.add()
    began = time.monotonic()
    noise = Thread(lambda: loud.say(LINES))
    slowest = 0.0
    while noise.is_alive():
        slowest = max(slowest, daemon.client.ping())
        before = time.monotonic()
        quiet.add()
        slowest = max(slowest, time.monotonic() - before)

    assert noise.done(60) is None, noise.outcome
    measured(f"{LINES:,} lines", time.monotonic() - began)
    measured("slowest answer of daemon or sibling meanwhile", slowest)
    assert slowest < 5
    identity = agentd.handle(loud).id
    wait_until(lambda: daemon.client.logs(identity)["next"] == LINES, "the last line")
    lines = daemon.client.logs(identity)["lines"]
    assert len(lines) == 1000
    assert lines[-1]["text"] == f"line {LINES - 1}"


def test_logs_follow(start):
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    agent.add()
    identity = agentd.handle(agent).id
    waiting = Thread(lambda: daemon.client.logs(identity, wait=25))
    time.sleep(0.2)

    agent.say(3, "news")

    answer = waiting.done()
    assert answer["lines"][0]["text"] == "news 0"
    rest = daemon.client.logs(identity, after=answer["next"], wait=0.5)
    assert not rest["ended"]


def test_a_follower_is_told_of_the_end(start):
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    agent.say(1, "farewell")
    identity = agentd.handle(agent).id
    wait_until(lambda: daemon.client.logs(identity)["next"] == 1, "its line")
    waiting = Thread(lambda: daemon.client.logs(identity, after=1, wait=25))
    time.sleep(0.2)

    agentd.handle(agent).delete()

    assert waiting.done()["ended"]
    assert daemon.client.logs(identity)["lines"][0]["text"] == "farewell 0"


def test_last_words_are_in_the_log_and_in_the_error(start):
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    agent.add()

    with pytest.raises(AgentCrashed) as caught:
        agent.leave(9)

    assert caught.value.stderr_tail.splitlines()[-1] == "last words"
    lines = daemon.client.logs(agentd.handle(agent).id)["lines"]
    assert ("stderr", "last words") in [(line["stream"], line["text"]) for line in lines]


def test_a_process_that_outlives_its_worker_and_prints_stalls_nobody(start):
    daemon = start()
    agent = Victim(to_dist=daemon.endpoint)
    agent.start_noise()

    with pytest.raises(AgentCrashed):
        agent.kill()

    assert agent.add() == 1
    assert daemon.client.ping() < 10
