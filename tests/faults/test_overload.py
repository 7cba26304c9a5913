"""More calls than an agent can do, from several programs: each is done or refused, none is lost.

``pytest --overload-calls=100000`` for more of them; `pytest -s` shows how much was done of what
could be. How fast that is ``make bench ARGS='--rows overload'`` measures.
"""

import time
from pathlib import Path

import pytest

import agentd
from benchmarks.overload import NAME, WORK_S, Crowd, capacity
from tests.faults.harness import wait_until
from tests.faults.victims import Victim

MIB = 1024 * 1024
WINDOW = 1_000
SPARE_BYTES = 64 * MIB


@pytest.fixture
def calls(pytestconfig):
    return int(pytestconfig.getoption("--overload-calls"))


def peak(pid):
    """The most memory that a process has had since ``forget_peak``."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell")


def test_a_creation_that_fills_the_limit_gets_its_code_all_the_same(start):
    daemon = start(client_calls=1)
    assert Victim(to_dist=daemon.endpoint).add() == 1


def test_each_of_too_many_calls_is_done_or_refused(start, calls):
    # Given
    budget = 16 * MIB
    daemon = start(
        client_calls=64,
        agent_calls=256,
        max_message_bytes=MIB,
        client_bytes=budget,
        agent_bytes=budget,
        daemon_bytes=budget,
    )
    client = agentd.connect(daemon.endpoint, direct=False)
    agent = client.create("benchmarks.hosted:Busy", options={"name": NAME})
    agentd.handle(agent).wait(60)
    can = capacity(agent, 50)
    before = agent.count()
    clients = 4 if calls < 16_000 else 16
    crowd = Crowd(daemon.endpoint, clients, calls // clients, WINDOW)
    usual = peak(daemon.process.pid)
    # When
    crowd.begin()
    most_open = 0
    while crowd.is_busy():
        told = daemon.client.info()["counters"]
        most_open = max(most_open, told["open_calls"])
        time.sleep(0.05)
    found = crowd.end()
    # Then
    told = daemon.client.info()["counters"]
    print(
        f"overload: {found.sent} calls of {clients} clients: {found.answered} done, "
        f"{found.refused} refused; {found.goodput_per_s / can:.0%} of capacity "
        f"({can:.0f}/s; {1 / WORK_S:.0f}/s on a machine with nothing else to do)"
    )
    assert found.sent == calls // clients * clients
    assert found.other == {}
    assert found.answered + found.refused == found.sent
    assert found.refused > 0, "that was no overload"
    assert agent.count() - before == found.answered, "done once each, and nothing else"
    refused = {name[8:]: n for name, n in told.items() if name[:8] == "refused_" and n}
    assert refused == found.refused_by
    assert most_open <= 256 + clients + 2
    assert peak(daemon.process.pid) - usual <= budget + SPARE_BYTES
    wait_until(lambda: daemon.client.info()["counters"]["open_calls"] <= 1, "all to be given back")
    assert agent.nap(0.0) == 0.0
