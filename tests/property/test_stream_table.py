"""The life of a stream: every event in every state, driven through the doors of the real thing."""

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentd import serialization
from agentd.errors import AgentNotFound, CallCancelled, ResultExpired
from agentd.worker import streams
from agentd.worker.phases import (
    STILL,
    STREAMS,
    IllegalTransition,
    StreamEvent,
    StreamState,
    stream_after,
)
from agentd.worker.streams import KEEP_S, OpenStream
from tests.property.tables import diagram
from tests.unit.worker.fakes import Call, Gate, Host, Source, Threads, message

S, E = StreamState, StreamEvent
PAIRS = [(state, event) for state in S for event in E]
SMALL_KEEP_ITEMS, SMALL_KEEP_BYTES = 6, 400
STOP = object()


class Teller:
    """Its generator makes what the gate says."""

    def __init__(self, threads):
        self.gate = Gate(threads)
        self.item = None
        self.closed = 0
        self.begun = 0

    def tell(self):
        self.begun += 1
        try:
            while True:
                try:
                    self.gate.wait()
                    _be_told_here()
                except CallCancelled:
                    if not isinstance(self.item, Stubborn):
                        raise
                item = self.item
                if item is STOP:
                    return
                if isinstance(item, Exception):
                    raise item
                yield bytes(item)
        finally:
            self.closed += 1


def _be_told_here():
    """An exception from another thread comes no later than in here."""
    for _ in range(100):
        pass


class Stubborn(bytes):
    """An item that is made even by a generator that has just been cancelled."""


class Reader:
    """One who reads, and what may be expected of what he is sent."""

    def __init__(self, source, number, offset, credit):
        self.source, self.number, self.offset, self.credit = source, number, offset, credit

    def check(self, made, state):
        messages = self.source.answers(self.number)
        payloads = self.source.payloads(self.number)
        items = [m for m in messages if m.kind == "chunk" and m.items]
        last = [m for m in messages if m.kind != "chunk"]
        assert [m.offset for m in items] == list(range(self.offset, self.offset + len(items)))
        assert len(items) <= self.credit
        assert len(last) <= 1, "one last answer"
        assert not last or messages[-1] is last[0], "nothing comes after it"
        for m, frames in zip(messages, payloads, strict=True):
            if m.kind == "chunk" and m.items:
                assert serialization.decode(m.codec, frames[0], frames[1:]) == made[m.offset]
        if last and last[0].kind == "end":
            assert last[0].offset == len(made)
            assert self.offset + len(items) == len(made) or self.offset > len(made)
        if state is S.FORGOTTEN and not self.source.gone:
            assert len(last) == 1, "told how it ended"

    @property
    def over(self):
        return any(m.kind != "chunk" for m in self.source.answers(self.number))


class Play:
    """A worker with one agent and a stream of it that goes on step by step."""

    def __init__(self, credit=1, timeout=None, busy="queue"):
        self.threads = Threads()
        self.agent = Teller(self.threads)
        self.host = Host(self.agent, self.threads, busy=busy)
        self.turns = self.host.hosted.turns
        self.made = []
        self.visited = set()
        self.readers = []
        self.others = []
        self.numbers = iter(range(2, 10_000))
        self._kept = streams.KEEP_ITEMS, streams.KEEP_BYTES, streams.ENDED_COUNT
        streams.KEEP_ITEMS, streams.KEEP_BYTES = SMALL_KEEP_ITEMS, SMALL_KEEP_BYTES
        streams.ENDED_COUNT = 3

        def noted(state, event):
            self.visited.add((state, event))
            return stream_after(state, event)

        streams.stream_after = noted
        first = Reader(Source("opener"), 1, 0, credit)
        call, payload = message(1, "stream", "tell", credit=credit, timeout=timeout)
        self.stream = OpenStream(self.host, self.host.hosted, first.source, call, payload)
        self.readers.append(first)
        self.host.streams.add(self.stream)
        self.stream.enter()

    @property
    def state(self):
        return self.stream._stage

    @property
    def at_gate(self):
        return self.agent.gate.waits

    # -- what may happen ---------------------------------------------------------------------------
    def go(self):
        while self.threads.tasks:
            self.threads.step()

    def tell(self, item):
        """The generator's next step."""
        before = self.state
        self.agent.item = item
        self.agent.gate.open()
        if isinstance(item, bytes) and before is S.PRODUCING:
            self.made.append(bytes(item))
        self.go()

    def moves(self, action):
        """Do what may have the standing producer go on: until it rests again."""
        still = self.state in STILL
        action()
        if still and self.state not in STILL:
            self._going_on = True
        self.settle()

    _going_on = False

    def settle(self):
        """A producer that goes on rests again, unless it waits for its turn."""
        if self._going_on and self.stream not in self.turns._returning:
            self._going_on = False
            self.threads.until_rest()
            self.go()

    def attach(self, offset, credit, who=None):
        number = next(self.numbers)
        reader = Reader(Source(who or f"reader {number}"), number, offset, credit)
        self.readers.append(reader)
        self.moves(lambda: self.stream.attach(reader.source, number, offset, credit))
        return reader

    def grant(self, reader, more):
        reader.credit += more
        self.moves(lambda: self.host.streams.grant(reader.source, reader.number, more))

    def leaves(self, reader):
        reader.source.gone = True
        self.stream.detach(reader.source.who, reader.number)

    def pass_time(self, seconds):
        self.moves(lambda: self.host.loop.advance(seconds))

    def other_call(self):
        """Somebody else's, which runs on the event loop until it is told to end."""
        call = Call(who="somebody else", on_loop=True)
        self.others.append(call)
        self.turns.post(call)
        return call

    def other_ends(self, call):
        self.others.remove(call)
        call.done()
        self.settle()
        self.go()

    def others_end(self, count=4):
        """Newer streams, which end at once."""
        for _ in range(count):
            number = next(self.numbers)
            call, payload = message(number, "stream", "tell")
            new = OpenStream(self.host, self.host.hosted, Source(), call, payload)
            self.host.streams.add(new)
            new.refuse(AgentNotFound("not now"))

    # -- what holds --------------------------------------------------------------------------------
    def check(self):
        for reader in self.readers:
            reader.check(self.made, self.state)
        stream = self.stream
        kept = sum(kept.size for kept in stream._kept)
        assert kept == stream._kept_bytes
        assert len(stream._kept) <= SMALL_KEEP_ITEMS
        assert kept <= SMALL_KEEP_BYTES or len(stream._kept) == 1
        assert len(self.host.streams._ended) <= streams.ENDED_COUNT
        assert self.agent.begun <= 1
        assert self.agent.closed <= self.agent.begun
        if self.state in (S.ENDED, S.FORGOTTEN):
            assert self.agent.closed == self.agent.begun
        answered = self.state in (S.CLOSING, S.ENDED, S.FORGOTTEN)
        assert self.host.ended.count(stream) == answered
        holds = stream in self.turns._running
        if self.state is S.STALLED:
            assert holds
        if self.state in (S.NEW, S.YIELDED, S.ENDED, S.FORGOTTEN):
            assert not holds or self.threads.tasks
        running = [item for item in self.turns._running if item not in self.turns._stalled]
        assert len(running) <= 1

    def finish(self):
        """Bring it to its end, and look whether all is in order."""
        try:
            self.moves(self.stream.cancel)
            self.go()
            while self.at_gate or self.others:
                if self.at_gate:
                    self.tell(STOP)
                else:
                    self.other_ends(next(call for call in self.others if call.ran))
            assert self.state in (S.ENDED, S.FORGOTTEN)
            self.check()
            for reader in self.readers:
                reader.source.gone = True
            self.host.loop.advance(2 * KEEP_S)
            assert self.state is S.FORGOTTEN
            assert (self.turns._running, self.turns._stalled, self.turns._left) == ([], (), ())
            kept = self.host.streams
            assert (kept._streams, kept._readers, kept._ended_bytes) == ({}, {}, 0)
            assert not kept._looked_after
            assert not kept._timer, "nothing is looked after for ever"
            assert self.host.recorder.running == 0
        finally:
            self.close()

    def close(self):
        streams.stream_after = stream_after
        streams.KEEP_ITEMS, streams.KEEP_BYTES, streams.ENDED_COUNT = self._kept


# -- one by one ------------------------------------------------------------------------------------
def brought_to(state):
    """A play whose stream is in that state, with a reader that lags behind."""
    play = Play(credit=1 if state in (S.STALLED, S.YIELDED) else 3, timeout=2 * KEEP_S)
    if state is S.NEW:
        return play
    play.go()
    play.attach(0, 0)
    play.tell(b"one")
    if state is S.PRODUCING:
        return play
    if state is S.YIELDED:
        for reader in play.readers:
            play.leaves(reader)
        play.pass_time(play.host.grace_s + 2)
    elif state is S.CLOSING:
        play.stream.cancel()
    elif state in (S.ENDED, S.FORGOTTEN):
        play.tell(STOP)
        if state is S.FORGOTTEN:
            play.others_end()
    return play


def out_of_credit(play):
    play.tell(b"two")
    play.tell(b"three")


def credit(play):
    if play.state is S.YIELDED:
        play.attach(0, 5)
    else:
        play.grant(play.readers[0], 2)


def attached(play):
    if play.state is S.FORGOTTEN:
        with pytest.raises(ResultExpired):
            play.stream.attach(Source(), 99, 0, 1)
        return
    play.attach(0, 0)


def reader_lost(play):
    if play.state is S.YIELDED:
        play.attach(0, 0)
    play.leaves(play.readers[-1])


def given_up(play):
    play.moves(play.stream.cancel)


def unread(play):
    for reader in play.readers:
        play.leaves(reader)
    play.pass_time(play.host.grace_s + 2)


def kept(play):
    if play.state is S.FORGOTTEN:
        assert play.stream.forget(E.KEPT)
        return
    play.leaves(play.readers[-1])
    play.pass_time(KEEP_S + 2)


def no_room(play):
    if play.state is S.FORGOTTEN:
        play.stream.forget(E.NO_ROOM)
    else:
        play.others_end()


CAUSE = {
    E.TURN: Play.go,
    E.ITEM: lambda play: play.tell(Stubborn(b"again")),
    E.OUT_OF_CREDIT: out_of_credit,
    E.CREDIT: credit,
    E.ATTACHED: attached,
    E.READER_LOST: reader_lost,
    E.UNREAD: unread,
    E.GIVEN_UP: given_up,
    E.FINISHED: lambda play: play.tell(LookupError("as told")),
    E.KEPT: kept,
    E.NO_ROOM: no_room,
}

BEYOND = {
    (S.CLOSING, E.ITEM): S.ENDED,
    (S.STALLED, E.GIVEN_UP): S.ENDED,
    (S.YIELDED, E.GIVEN_UP): S.ENDED,
}
"""Where the producer goes on by itself from what the table says."""


@pytest.mark.parametrize(("state", "event"), STREAMS, ids=lambda value: value.name)
def test_a_pair_leads_where_the_table_says(state, event):
    visit(state, event)


def visit(state, event):
    play = brought_to(state)
    assert play.state is state
    play.visited.clear()
    CAUSE[event](play)
    assert (state, event) in play.visited
    assert play.state is BEYOND.get((state, event), STREAMS[state, event])
    play.check()
    seen = set(play.visited)
    play.finish()
    return seen


@pytest.mark.parametrize(
    ("state", "event"), [pair for pair in PAIRS if pair not in STREAMS], ids=lambda v: v.name
)
def test_any_other_pair_is_refused_and_changes_nothing(state, event):
    try_in_vain(state, event)


def try_in_vain(state, event):
    play = brought_to(state)
    with play.stream._lock, pytest.raises(IllegalTransition, match=event.value):
        play.stream._goes(event)
    assert play.state is state
    play.check()
    seen = set(play.visited)
    play.finish()
    return seen


def test_every_pair_is_visited():
    visited = set()
    for pair in PAIRS:
        visited |= visit(*pair) if pair in STREAMS else try_in_vain(*pair)
    assert visited == set(PAIRS)


# -- at random -------------------------------------------------------------------------------------
SELDOM = st.integers(0, 3)
"""0: do it. So that not every walk is a short one."""


class Walk(RuleBasedStateMachine):
    """A stream, and whatever may happen to it and its readers, in any order."""

    def __init__(self):
        super().__init__()
        self.play = None

    @initialize(credit=st.integers(0, 8), timeout=st.sampled_from([None, None, 100.0, 5.0]))
    def begin(self, credit, timeout):
        self.play = Play(credit, timeout)

    @precondition(lambda self: self.play.threads.tasks)
    @rule()
    def turn(self):
        self.play.go()

    @precondition(lambda self: self.play.at_gate)
    @rule(sizes=st.lists(st.sampled_from([1, 60, 150, 500]), min_size=1, max_size=6))
    def items(self, sizes):
        for size in sizes:
            if self.play.at_gate:
                self.play.tell(Stubborn(bytes([len(self.play.made)]) * size))

    @precondition(lambda self: self.play.at_gate)
    @rule(how=st.sampled_from([STOP, LookupError("as told")]), seldom=SELDOM)
    def ends(self, how, seldom):
        if seldom == 0:
            self.play.tell(how)

    @rule(data=st.data(), more=st.integers(0, 8))
    def grant(self, data, more):
        self.play.grant(data.draw(st.sampled_from(self.play.readers)), more)

    @rule(data=st.data(), credit=st.integers(0, 4))
    def attach(self, data, credit):
        offset = data.draw(st.integers(0, len(self.play.made) + 1))
        if self.play.state is not S.FORGOTTEN:
            self.play.attach(offset, credit)
            return
        with pytest.raises(ResultExpired):
            self.play.stream.attach(Source(), 99_999, offset, credit)

    @rule(data=st.data(), told=st.booleans())
    def reader_dies(self, data, told):
        reader = data.draw(st.sampled_from(self.play.readers))
        reader.source.gone = True
        if told:
            self.play.leaves(reader)

    @precondition(lambda self: self.play.state is S.STALLED)
    @rule()
    def everybody_leaves_for_long(self):
        for reader in self.play.readers:
            self.play.leaves(reader)
        self.play.pass_time(self.play.host.grace_s + 2)
        assert self.play.state is not S.STALLED

    @rule(way=st.sampled_from(["cancel", "interrupt", "give_up", "refuse"]), seldom=SELDOM)
    def given_up(self, way, seldom):
        stream = self.play.stream
        if seldom and self.play.state is not S.ENDED:
            return
        error = [AgentNotFound("it ended")] if way in ("give_up", "refuse") else []
        if way != "refuse" or self.play.state is S.ENDED:
            self.play.moves(lambda: getattr(stream, way)(*error))

    @rule(seconds=st.sampled_from([0.5, 0.5, 3.0, 12.0, 70.0]))
    def time_passes(self, seconds):
        self.play.pass_time(seconds)

    @rule()
    def somebody_calls(self):
        if len(self.play.others) < 3:
            self.play.other_call()

    @precondition(lambda self: any(call.ran for call in self.play.others))
    @rule()
    def somebodys_call_ends(self):
        self.play.other_ends(next(call for call in self.play.others if call.ran))

    @rule(count=st.integers(1, 4))
    def newer_ones_end(self, count):
        self.play.others_end(count)

    @invariant()
    def in_order(self):
        if self.play is not None:
            self.play.check()

    def teardown(self):
        if self.play is not None:
            self.play.finish()


TestWalk = Walk.TestCase
# A long story at once is better than a short one after minutes: the stories have threads.
TestWalk.settings = settings(
    max_examples=100, stateful_step_count=50, phases=set(Phase) - {Phase.shrink}
)


def test_the_documentation_shows_the_table():
    expected = {(s.name, e.name): following.name for (s, e), following in STREAMS.items()}
    assert diagram("Life of a stream") == expected
