"""State in step: copies, versions, conditional writes, watching."""

import asyncio
import threading

import pytest

import agentd
from agentd.errors import AgentNotFound, StateConflict


class Ledger(agentd.Agent):
    def __init__(self, balance=0):
        self.balance = balance
        self.notes = ["begun"]

    def add(self, amount):
        self.balance += amount
        return self.balance

    def note(self, text):
        self.notes.append(text)

    @agentd.readonly
    def peek(self):
        return self.balance

    @property
    def doubled(self):
        return 2 * self.balance


@pytest.fixture(params=["spec", "live"])
def ledger(request):
    agent = Ledger(5, to_dist=True) if request.param == "spec" else Ledger(5).to_dist()
    with agentd.handle(agent):
        yield agent


def test_fetch_gives_a_local_copy_of_the_object_as_it_is_now(ledger):
    # Given
    ledger.add(2)
    # When
    copy = agentd.handle(ledger).fetch()
    # Then
    assert type(copy) is Ledger
    assert (copy.balance, copy.notes) == (7, ["begun"])
    assert copy.add(1) == 8
    assert ledger.balance == 7


def test_what_was_fetched_can_be_hosted_again(ledger):
    copy = agentd.handle(ledger).fetch()
    copy.add(10)
    with agentd.handle(copy.to_dist()) as again:
        assert again.proxy.add(0) == 15
    assert ledger.balance == 5


def test_a_version_grows_with_each_change_and_only_then(ledger):
    handle = agentd.handle(ledger)
    first = handle.look("balance")
    assert (first.value, handle.look("balance")) == (5, first)
    ledger.note("nothing of the balance")
    assert handle.look("balance") == first
    ledger.add(1)
    assert handle.look("balance") == (6, first.version + 1)
    ledger.note("in place")
    before = handle.look("notes").version
    ledger.note("again")
    assert handle.look("notes").version == before + 1


def test_set_writes_only_if_nobody_else_did(ledger):
    # Given
    handle = agentd.handle(ledger)
    version = handle.look("balance").version
    ledger.add(1)
    # Then
    with pytest.raises(StateConflict, match="version") as caught:
        handle.set("balance", 100, expect=version)
    assert ledger.balance == 6
    now = handle.look("balance").version
    assert caught.value.version == now
    assert handle.set("balance", 100, expect=now) == now + 1
    assert ledger.balance == 100
    assert handle.set("balance", 1) == now + 2


def test_conditional_writes_of_many_never_lose_one(ledger):
    def add_one_carefully(times):
        handle = agentd.handle(ledger)
        for _ in range(times):
            while True:
                seen = handle.look("balance")
                try:
                    handle.set("balance", seen.value + 1, expect=seen.version)
                except StateConflict:
                    continue
                break

    threads = [threading.Thread(target=add_one_carefully, args=(25,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ledger.balance == 105


def test_watch_gives_the_value_now_and_after_each_turn_that_changed_it(ledger):
    with agentd.handle(ledger).watch("balance") as watch:
        first = next(watch)
        assert first.value == 5
        ledger.note("not this")
        ledger.add(1)
        assert next(watch) == (6, first.version + 1)
        ledger.balance = 50
        assert next(watch).value == 50


def test_a_slow_reader_misses_values_but_gets_the_newest(ledger):
    with agentd.handle(ledger).watch("balance") as watch:
        next(watch)
        for _ in range(200):
            ledger.add(1)
        values = [next(watch).value]
        while values[-1] < 205:
            values.append(next(watch).value)
    assert values == sorted(set(values))
    assert len(values) <= 3


def test_any_number_of_readers(ledger):
    handle = agentd.handle(ledger)
    watches = [handle.watch("balance") for _ in range(10)]
    for watch in watches:
        assert next(watch).value == 5
    ledger.add(1)
    for watch in watches:
        assert next(watch).value == 6
        watch.close()
    assert ledger.add(1) == 7


def test_a_property_is_watched_like_an_attribute(ledger):
    with agentd.handle(ledger).watch("doubled") as watch:
        assert next(watch).value == 10
        ledger.add(1)
        assert next(watch).value == 12


def test_watching_with_asyncio(ledger):
    async def three():
        found = []
        async for seen in agentd.handle(ledger).watch("balance"):
            found.append(seen.value)
            if len(found) == 3:
                return found
            await agentd.aio(ledger).add(1)
        return None

    assert asyncio.run(three()) == [5, 6, 7]


def test_a_watch_goes_on_after_a_lost_connection(ledger):
    with agentd.handle(ledger).watch("balance") as watch:
        next(watch)
        watch._link.fail("cut by the test")
        ledger.add(1)
        assert next(watch).value == 6


def test_a_watch_ends_with_the_agent():
    agent = Ledger(to_dist=True)
    watch = agentd.handle(agent).watch("balance")
    next(watch)
    agentd.handle(agent).delete()
    with pytest.raises(AgentNotFound, match="deleted"):
        next(watch)


def test_what_is_not_there_or_private_cannot_be_watched(ledger):
    for name in ("nothing", "_private"):
        with pytest.raises(AttributeError):
            next(agentd.handle(ledger).watch(name))
