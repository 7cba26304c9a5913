"""Budgets never leak and never go over, in whatever order things happen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.errors import Overloaded
from agentd.protocol.budgets import KEPT, LONGEST_HINT_S, SHORTEST_HINT_S, Budgets, Room
from tests.clocks import Clock

CLIENT, AGENT, DAEMON = Room(3, 100), Room(4, 150), Room(6, 250)


@pytest.fixture
def budgets(clock):
    return Budgets(CLIENT, AGENT, DAEMON, clock)


STEPS = st.one_of(
    st.tuples(
        st.just("take"),
        st.integers(0, 12),
        st.integers(0, 3),
        st.sampled_from([None, "a", "b"]),
        st.integers(0, 120),
    ),
    st.tuples(st.just("give"), st.integers(0, 12)),
    st.tuples(st.just("lost"), st.integers(0, 3)),
)


@given(st.lists(STEPS, max_size=60))
def test_what_is_taken_is_what_is_open_and_within_the_limits(steps):
    budgets = Budgets(CLIENT, AGENT, DAEMON, Clock())
    model: dict[int, tuple[int, str | None, int]] = {}  # what is open, kept by hand
    for step in steps:
        if step[0] == "take":
            _, question, client, agent, size = step
            if question in model:
                continue
            fits = all(
                len(mine) < room.calls and sum(m[2] for m in mine) + size <= room.bytes
                for room, mine in (
                    (CLIENT, [m for m in model.values() if m[0] == client]),
                    (AGENT, [m for m in model.values() if agent and m[1] == agent]),
                    (DAEMON, list(model.values())),
                )
                if agent or room is not AGENT
            )
            try:
                budgets.take(question, client, agent, size)
            except Overloaded:
                assert not fits
            else:
                assert fits
                model[question] = (client, agent, size)
        elif step[0] == "give":
            assert budgets.give(step[1]) == (step[1] in model)
            model.pop(step[1], None)
        else:
            lost = [q for q, m in model.items() if m[0] == step[1]]
            assert budgets.give_all(step[1]) == len(lost)
            for question in lost:
                del model[question]
        _same(budgets, model)
    for question in list(model):
        budgets.give(question)
    accounts = [budgets._all, *budgets._clients.values(), *budgets._agents.values()]
    assert not any(a.calls or a.bytes or a.questions for a in accounts)
    assert len(budgets) == 0


def test_accounts_of_those_who_came_once_do_not_pile_up(clock):
    everybody = Room(10_000, 10_000)
    budgets = Budgets(everybody, everybody, everybody, clock)
    for number in range(500):
        budgets.take(number, f"client {number}", f"agent {number}", 1)
    for number in range(500):
        assert budgets.give(number)
    assert len(budgets._clients) <= KEPT
    assert len(budgets._agents) <= KEPT


def _same(budgets, model):
    def room(mine):
        mine = list(mine)
        return Room(len(mine), sum(m[2] for m in mine))

    assert len(budgets) == len(model)
    assert budgets.used("daemon") == room(model.values())
    for client in range(4):
        assert budgets.used("client", client) == room(m for m in model.values() if m[0] == client)
    for agent in "ab":
        assert budgets.used("agent", agent) == room(m for m in model.values() if m[1] == agent)


@pytest.mark.parametrize(
    ("takes", "setting", "limit"),
    [
        ([("c", None, 1)] * 4, "client_calls", 3),
        ([("c", None, 60)] * 2, "client_bytes", 100),
        ([(n, "a", 1) for n in range(5)], "agent_calls", 4),
        ([(n, "a", 80) for n in range(2)], "agent_bytes", 150),
        ([(n, None, 1) for n in range(7)], "daemon_calls", 6),
        ([(n, None, 90) for n in range(3)], "daemon_bytes", 250),
    ],
)
def test_each_limit_is_told_by_its_name(budgets, takes, setting, limit):
    *fit, last = takes
    for number, one in enumerate(fit):
        budgets.take(number, *one)

    with pytest.raises(Overloaded, match=f"{setting} = {limit}") as told:
        budgets.take("last", *last)

    assert (told.value.setting, told.value.limit) == (setting, limit)
    assert budgets.refused == {setting: 1}
    assert not budgets.holds("last")


def test_the_hint_follows_how_long_questions_stay(budgets, clock):
    def hint():
        for number in range(3):
            budgets.take(number, "c", None, 0)
        with pytest.raises(Overloaded) as told:
            budgets.take("over", "c", None, 0)
        return told.value.retry_after

    first = hint()
    for _ in range(30):
        clock.now += 2.0
        budgets.give_all("c")
        budgets.take(0, "c", None, 0)
    clock.now += 2.0
    budgets.give_all("c")
    slow = hint()
    assert SHORTEST_HINT_S <= first < slow <= LONGEST_HINT_S
    clock.now += 1e6
    budgets.give_all("c")
    assert hint() == LONGEST_HINT_S
