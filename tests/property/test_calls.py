"""The life of a call: every event in every state, driven through the doors of the real thing."""

import asyncio

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from agentd.client.fetching import Outcome
from agentd.errors import AgentNotFound, CallCancelled, CallTimeout
from agentd.protocol import error_message
from agentd.protocol.messages import Result
from agentd.worker import calls, coroutines
from agentd.worker.calls import OpenCall, OpenWatch
from agentd.worker.phases import (
    ANSWERED,
    CALLS,
    CallEvent,
    CallState,
    IllegalTransition,
    call_after,
)
from tests.property.tables import diagram
from tests.unit.worker.fakes import Gate, Host, Source, Threads, message

S, E = CallState, CallEvent
PAIRS = [(state, event) for state in S for event in E]


class Gated:
    """Its code does what the gate of the call says."""

    def __init__(self, threads, loop):
        self._threads = threads
        self._loop = loop
        self.gates = {}
        self.ran = []

    def work(self, number):
        self.ran.append(number)
        return self._end(self._gate(number).wait())

    def _gate(self, number):
        return self.gates.setdefault(number, Gate(self._threads))

    def _end(self, how):
        if isinstance(how, Exception):
            raise how
        return how

    async def task(self, number):
        self.ran.append(number)
        self.gates[number] = self._loop.create_future()
        return self._end(await self.gates[number])

    @property
    def seen(self):
        """An attribute that takes its time when it is first looked at."""
        if "seen" in self.gates:
            return "seen before"
        self.ran.append("seen")
        return self._end(self._gate("seen").wait())


class One:
    """A call, and all that can happen to it."""

    def __init__(self, play, number, form, *, needs=False, timeout=None, **fields):
        self.play, self.number, self.form = play, number, form
        op, name = ("watch", "seen") if form == "watch" else ("method", form)
        args = () if form == "watch" else (number,)
        wires = [["result", b"k", b"b" * 16, "", 0]] if needs else []
        call, payload = message(
            number, op, name, *args, needs=wires, timeout=timeout, credit=9, **fields
        )
        self.sources = [Source()]
        self.numbers = [number]
        kind = OpenWatch if form == "watch" else OpenCall
        self.call = kind(play.host, play.host.hosted, self.sources[0], call, payload)
        self.gate = "seen" if form == "watch" else number
        self.call.enter()
        self.have_needs = play.host.needs.pop() if needs else None

    @property
    def state(self):
        return self.call._state

    @property
    def at_gate(self):
        if self.form == "task":
            gate = self.play.agent.gates.get(self.number)
            return gate is not None and not gate.done()
        gate = self.play.agent.gates.get(self.gate)
        return gate is not None and gate.waits and self.state in (S.RUNNING, S.LEAVING, S.DONE)

    def open(self, how="value"):
        if self.form != "task":
            self.play.agent.gates[self.gate].open(how)
            return
        gate = self.play.agent.gates[self.number]
        if isinstance(how, Exception):
            gate.set_exception(how)
        else:
            gate.set_result(how)
        self.play.spin()

    def redirect(self):
        """Ask for it over a new connection; whether it will answer there."""
        source, number = Source("another"), self.number + 1000 * len(self.sources)
        if not self.call.redirect(source, number):
            return False
        self.sources.append(source)
        self.numbers.append(number)
        return True

    def last_answers(self):
        """All but the values that a watch sends."""
        return [
            m
            for source, number in zip(self.sources, self.numbers, strict=True)
            for m in source.answers(number)
            if m.kind not in ("chunk", "accepted")
        ]

    def check(self, *, over=False):
        answers, answered = self.last_answers(), self.state in ANSWERED
        oneway = self.call.call.oneway
        if oneway:
            if answered:  # what it took is given back, wherever it was asked for
                for source, number in zip(self.sources, self.numbers, strict=True):
                    assert number in source.left
            told = [m for s in self.sources for m, _payload in s.sent]
            assert len(told) <= 1
            assert not over or len(told) == 1
        else:
            assert len(answers) == answered
            assert not any(s.sent and s is not self.sources[-1] for s in self.sources[:-1])
            if answered and self.form != "watch":
                kept = self.play.host.outcomes.recall(self.call.call.key)
                assert kept is not None
        assert self.play.host.ended.count(self.call) == answered
        if over:
            assert self.state is S.DONE


class Play:
    """A worker with one agent, whose code and threads go step by step."""

    def __init__(self, **options):
        self.threads = Threads()
        self.loop = asyncio.new_event_loop()
        self._real, coroutines.event_loop = coroutines.event_loop, lambda: self.loop
        self.agent = Gated(self.threads, self.loop)
        self.host = Host(self.agent, self.threads, **options)
        self.all = []
        self.visited = set()

        def noted(state, event):
            self.visited.add((state, event))
            return call_after(state, event)

        calls.call_after = noted

    def new(self, form, **more):
        one = One(self, len(self.all) + 1, form, **more)
        self.all.append(one)
        return one

    def spin(self):
        """Let the event loop do all that it can."""
        for _ in range(12):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def go(self):
        """Start whatever has been given its turn."""
        self.spin()
        while self.threads.tasks:
            self.threads.step()
            self.spin()

    def finish(self):
        """Bring all to its end, and look whether it is in order."""
        self.host.hosted.end("the play is over")
        for one in self.all:
            if one.have_needs is not None:
                have, one.have_needs = one.have_needs, None
                have({})
        self.go()
        while waiting := [one for one in self.all if one.at_gate]:
            waiting[0].open()
            self.go()
        try:
            for one in self.all:
                one.check(over=True)
            turns = self.host.hosted.turns
            assert (turns._running, turns._reading, turns.depth) == ([], (), 0)
            assert self.host.recorder.running == 0
            assert self.host.loop.timers == self._outcome_timers()
            assert self.host.hosted.object is None
        finally:
            self.close()

    def _outcome_timers(self):
        return int(self.host.outcomes._timer)

    def close(self):
        calls.call_after = call_after
        coroutines.event_loop = self._real
        self.loop.close()


# -- one by one ------------------------------------------------------------------------------------
def brought_to(play, state, form):
    """A call that is in that state."""
    one = play.new(form, needs=state is S.WAITING, timeout=50.0)
    if state in (S.WAITING, S.QUEUED):
        return one
    if state is S.DONE:
        one.call.cancel()
        return one
    play.go()
    if state is S.LEAVING:
        one.call.cancel()
    elif state is S.WATCHING:
        one.open()
    return one


def needs_failed(one):
    failure = Outcome(error_message(7, CallCancelled("it was cancelled")), [])
    (one.have_needs or one.call._have_needs)(failure)
    one.have_needs = None


def needs_there(one):
    (one.have_needs or one.call._have_needs)({})
    one.have_needs = None


def turn_comes(one):
    if one.state is S.DONE:
        one.call.run()
    else:
        one.play.go()


def finishes(one):
    if one.state is S.WATCHING:
        one.call._watcher.over(error_message(1, AgentNotFound("gone")), [])
    elif one.state is S.DONE:
        one.call._over(error_message(1, AgentNotFound("gone")), [])
    elif one.state is S.LEAVING and one.form == "task":
        one.play.spin()
    else:
        one.open(LookupError("as told"))


def stays(one):
    if one.state is S.DONE:
        one.call._finish(Result(1), [])
    else:
        one.open()


CAUSE = {
    E.NEEDS_THERE: needs_there,
    E.NEEDS_FAILED: needs_failed,
    E.TURN: turn_comes,
    E.REFUSED: lambda one: one.call.refuse(AgentNotFound("it ended")),
    E.FINISHED: finishes,
    E.STAYS: stays,
    E.CANCELLED: lambda one: one.call.cancel(),
    E.EXPIRED: lambda one: one.call._expire(),
    E.INTERRUPTED: lambda one: one.call.interrupt(),
    E.KILLED: lambda one: one.call.give_up(AgentNotFound("killed")),
    E.REDIRECTED: lambda one: one.redirect(),
}


def forms_of(state, event):
    """In which forms a pair occurs."""
    if state is S.WATCHING or event is E.STAYS or (state, event) == (S.DONE, E.FINISHED):
        return ["watch"]
    return ["work", "task"] if event is E.REDIRECTED else ["work", "task", "watch"]


@pytest.mark.parametrize(
    ("state", "event", "form"),
    [(s, e, form) for s, e in CALLS for form in forms_of(s, e)],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_pair_leads_where_the_table_says(state, event, form):
    visit(state, event, form)


def visit(state, event, form):
    play = Play()
    one = brought_to(play, state, form)
    assert one.state is state
    play.visited.clear()
    CAUSE[event](one)
    assert one.state is CALLS[state, event]
    one.check()
    seen = set(play.visited)
    play.finish()
    return seen


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in CALLS])
def test_any_other_pair_is_refused_and_changes_nothing(state, event):
    try_in_vain(state, event)


def try_in_vain(state, event):
    play = Play()
    one = brought_to(play, state, "watch" if state is S.WATCHING else "work")
    with one.call._lock, pytest.raises(IllegalTransition, match=event.value):
        one.call._moves(event)
    assert one.state is state
    one.check()
    seen = set(play.visited)
    play.finish()
    return seen


def test_every_pair_is_visited():
    visited = set()
    for state, event in PAIRS:
        if (state, event) in CALLS:
            for form in forms_of(state, event):
                visited |= visit(state, event, form)
        else:
            visited |= try_in_vain(state, event)
    assert visited == set(PAIRS)


# -- at random -------------------------------------------------------------------------------------
EXPECTED = {
    E.CANCELLED: CallCancelled.code,
    E.INTERRUPTED: CallCancelled.code,
    E.EXPIRED: CallTimeout.code,
    E.KILLED: AgentNotFound.code,
}


class Walk(RuleBasedStateMachine):
    """Calls of an agent, and whatever may happen to them, in any order."""

    visited: set = set()

    def __init__(self):
        super().__init__()
        self.play = None

    @initialize(
        busy=st.sampled_from(["queue", "reject", "interrupt"]), concurrency=st.integers(1, 2)
    )
    def begin(self, busy, concurrency):
        self.play = Play(busy=busy, max_concurrency=concurrency, mailbox=2)

    @rule(
        form=st.sampled_from(["work", "task", "watch"]),
        needs=st.booleans(),
        timeout=st.sampled_from([None, 1.0, 5.0]),
        kind=st.sampled_from(["", "", "oneway", "hold"]),
    )
    def call(self, form, needs, timeout, kind):
        if form == "watch" and any(o.form == "watch" for o in self.play.all):
            return  # one gate for all of them
        more = {kind: True} if kind and form != "watch" else {}
        if kind == "hold" and more:
            self.play.host.outcomes.expect((len(self.play.all) + 1).to_bytes(24, "big"))
        self.play.new(form, needs=needs, timeout=timeout, **more)

    def any_of(self, data, condition):
        found = [one for one in self.play.all if condition(one)]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data(), there=st.booleans())
    def needs_come(self, data, there):
        one = self.any_of(data, lambda o: o.have_needs is not None)
        if one is not None:
            (needs_there if there else needs_failed)(one)

    @precondition(lambda self: self.play and self.play.threads.tasks)
    @rule()
    def thread_begins(self):
        self.play.threads.step()

    @rule()
    def event_loop_turns(self):
        self.play.spin()

    @rule(data=st.data(), well=st.booleans())
    def code_ends(self, data, well):
        one = self.any_of(data, lambda o: o.at_gate)
        if one is not None:
            one.open("value" if well else LookupError("as told"))

    @rule(data=st.data(), event=st.sampled_from([E.CANCELLED, E.INTERRUPTED, E.KILLED]))
    def given_up(self, data, event):
        one = self.any_of(data, lambda o: (o.state, event) in CALLS)
        if one is None:
            return
        before = len(one.last_answers()) if not one.call.call.oneway else 0
        CAUSE[event](one)
        if not one.call.call.oneway and len(one.last_answers()) > before:
            assert one.last_answers()[-1].code == EXPECTED[event]

    @rule(data=st.data())
    def asked_again(self, data):
        one = self.any_of(data, lambda o: o.form != "watch" and not o.call.call.oneway)
        if one is not None:
            assert one.redirect() == (one.state not in ANSWERED)

    @rule(seconds=st.sampled_from([0.5, 3.0]))
    def time_passes(self, seconds):
        self.play.host.loop.advance(seconds)

    @invariant()
    def in_order(self):
        if self.play is None:
            return
        for one in self.play.all:
            one.check()
            if one.state in (S.WAITING, S.QUEUED):
                assert one.gate not in self.play.agent.ran or one.form == "watch"

    def teardown(self):
        if self.play is not None:
            self.play.finish()
            Walk.visited |= self.play.visited
            never = [o for o in self.play.all if o.gate not in self.play.agent.ran]
            assert self.play.agent.ran.count("seen") <= 1
            for one in self.play.all:
                if one.form != "watch":
                    assert self.play.agent.ran.count(one.number) <= 1
            for one in never:
                assert all(m.kind == "error" for m in one.last_answers())


TestWalk = Walk.TestCase
# A long story at once is better than a short one after minutes: the stories have threads.
TestWalk.settings = settings(
    max_examples=100, stateful_step_count=50, phases=set(Phase) - {Phase.shrink}
)


def test_a_call_answered_before_it_started_never_runs():
    for event in (E.CANCELLED, E.EXPIRED, E.INTERRUPTED, E.KILLED, E.REFUSED):
        for form in ("work", "task", "watch"):
            play = Play()
            one = play.new(form, timeout=50.0)
            CAUSE[event](one)
            play.go()
            assert play.agent.ran == []
            play.finish()


def test_the_documentation_shows_the_table():
    assert diagram("Life of a call") == {(s.name, e.name): n.name for (s, e), n in CALLS.items()}
