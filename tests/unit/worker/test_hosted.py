"""The mailbox: one at a time, in order, whatever happens."""

import threading

import pytest

from agentd.errors import AgentNotFound, ProtocolError
from agentd.worker.executor import Executor
from agentd.worker.hosted import Hosted
from agentd.worker.iterators import MAX_ITERATORS, Iterators
from agentd.worker.turns import IN_A_ROW, TurnOptions
from tests.unit.worker.fakes import NOWHERE, Call, Later

LONG_S = 20


@pytest.fixture
def later():
    return Later()


def hosted(executor, number=1):
    return Hosted(bytes([number]) * 16, 1, "m:C", executor, TurnOptions(), NOWHERE)


def test_in_the_order_they_came(later):
    agent, done = hosted(later), []
    for number in range(200):
        agent.post(lambda n=number: done.append(n))

    later.run()

    assert done == list(range(200))


def test_a_busy_agent_lets_others_have_their_turn(later):
    busy, other = hosted(later), hosted(later, 2)
    done = []
    for _ in range(10 * IN_A_ROW):
        busy.post(lambda: done.append("busy"))
    other.post(lambda: done.append("other"))

    later.run()

    assert done.index("other") == IN_A_ROW


def test_one_at_a_time_under_many_posters():
    agent = hosted(Executor())
    inside, most, done = [], [], threading.Semaphore(0)

    def task():
        inside.append(1)
        most.append(len(inside))
        inside.pop()
        done.release()

    def poster():
        for _ in range(500):
            agent.post(task)

    threads = [threading.Thread(target=poster) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(2_000):
        assert done.acquire(timeout=LONG_S)

    assert set(most) == {1}


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, MemoryError])
def test_a_task_that_raises_does_not_silence_the_agent(later, capsys, error):
    agent, done = hosted(later), []

    def fail():
        raise error

    agent.post(fail)
    agent.post(lambda: done.append(1))
    later.run()
    agent.post(lambda: done.append(2))
    later.run()

    assert done == [1, 2]
    assert error.__name__ in capsys.readouterr().err


def test_ending_refuses_what_waits_and_lets_go_in_its_turn(later):
    agent = hosted(later)
    agent.object = object()
    calls = [Call(number) for number in range(3)]
    for call in calls:
        agent.turns.post(call)

    still = agent.end("it was deleted")
    assert agent.object is not None
    later.run()

    assert still == [calls[0]]  # it had its turn already
    assert [call.ran for call in calls] == [1, 0, 0]
    assert all("deleted" in str(call.refused) for call in calls[1:])
    assert agent.object is None
    with pytest.raises(AgentNotFound, match="deleted"):
        agent.check_takes_calls(1)


def test_another_epoch_is_elsewhere(later):
    agent = hosted(later)
    agent.check_takes_calls(1)

    with pytest.raises(AgentNotFound) as caught:
        agent.check_takes_calls(2)

    assert caught.value.moved


class Thing:
    def __init__(self):
        self.public, self._private = 1, 2

    def method(self, n=0):
        return n + 1

    def __len__(self):
        return 7


def test_names_with_an_underscore_stay_private(later):
    agent = hosted(later)
    agent.adopt(Thing())

    assert agent.call("method", (1,), {}) == 2
    assert agent.call("__len__", (), {}) == 7
    assert agent.get("public") == 1
    assert "_private" not in agent.names()
    assert "__len__" in agent.names()
    assert "__init__" not in agent.names()
    for forbidden in (
        lambda: agent.get("_private"),
        lambda: agent.get("__dict__"),
        lambda: agent.set("_private", 1),
        lambda: agent.delete("_private"),
        lambda: agent.call("__init__", (), {}),
        lambda: agent.call("__reduce_ex__", (4,), {}),
        lambda: agent.call("_x", (), {}),
    ):
        with pytest.raises(AttributeError):
            forbidden()
    agent.set("public", 5)
    agent.delete("public")
    assert agent.is_own_method(agent.object.method)
    assert not agent.is_own_method(Thing().method)


def test_iterators_are_read_to_their_end_in_batches():
    iterators = Iterators()
    number = iterators.open(iter(range(1_000)))
    items, ended = [], False
    while not ended:
        more, ended = iterators.take(number)
        items += more

    assert items == list(range(1_000))
    with pytest.raises(ProtocolError, match="closed"):
        iterators.take(number)


def test_items_before_an_error_come_first():
    def source():
        yield 1
        yield 2
        raise KeyError("then")

    iterators = Iterators()
    number = iterators.open(source())

    assert iterators.take(number) == ([1, 2], False)
    with pytest.raises(KeyError):
        iterators.take(number)
    with pytest.raises(ProtocolError):
        iterators.take(number)


def test_the_one_longest_unread_is_closed_for_a_new_one():
    closed = []

    def source(name):
        try:
            while True:
                yield name
        finally:
            closed.append(name)

    iterators = Iterators()
    numbers = [iterators.open(source(n)) for n in range(MAX_ITERATORS)]
    for number in numbers:
        iterators.take(number)

    iterators.open(source("new"))
    assert closed == [0]
    iterators.close(numbers[1])
    iterators.close(numbers[1])
    assert closed == [0, 1]
    iterators.close_all()
    assert len(closed) == MAX_ITERATORS
