"""Streams without sockets: who has the turn, who reads what, what is kept."""

import pytest

from agentd.errors import AgentNotFound, ResultExpired
from agentd.protocol.messages import Attach, Detach
from agentd.worker import streams as module
from agentd.worker.phases import StreamState
from agentd.worker.streams import ENDED_COUNT, KEEP_S, OpenStream
from tests.unit.worker.fakes import Call, Host, Source, Threads, message


class Teller:
    def __init__(self):
        self.closed = 0

    def tell(self, n, size=1):
        try:
            for number in range(n):
                yield bytes([number % 256]) * size
        finally:
            self.closed += 1


class Play:
    """A worker whose producers go on until they stand still."""

    def __init__(self):
        self.agent = Teller()
        self.threads = Threads()
        self.host = Host(self.agent, self.threads)
        self.turns = self.host.hosted.turns
        self.numbers = iter(range(1, 100_000))

    def open(self, *args, credit=2, source=None):
        """A new stream; its producer stands still or has ended."""
        number = next(self.numbers)
        call, payload = message(number, "stream", "tell", *args, credit=credit)
        source = source or Source(f"opener {number}")
        stream = OpenStream(self.host, self.host.hosted, source, call, payload)
        self.host.streams.add(stream)
        stream.enter()
        while self.threads.tasks:
            self.threads.step()
        return stream, source

    def refused(self):
        """A new stream that ends before it has begun."""
        number = next(self.numbers)
        call, payload = message(number, "stream", "tell", 1)
        stream = OpenStream(self.host, self.host.hosted, Source(), call, payload)
        self.host.streams.add(stream)
        stream.refuse(AgentNotFound("not now"))

    def attach(self, stream, offset, credit=1000, who="another"):
        source = Source(who)
        number = next(self.numbers)
        self.host.streams.attach(
            source, Attach(number, b"a" * 16, 1, stream.call.key, offset, credit)
        )
        return source, number

    def offsets(self, source, number):
        return [m.offset for m in source.answers(number) if m.kind == "chunk" and m.items]


@pytest.fixture
def play():
    return Play()


# -- a reader that is gone -------------------------------------------------------------------------
def test_a_stream_keeps_its_turn_while_its_reader_is_slow(play):
    stream, _source = play.open(9)
    other = Call(who="other", on_loop=True)
    play.turns.post(other)
    play.host.loop.advance(10 * KEEP_S)
    assert (stream._stage, other.ran) == (StreamState.STALLED, 0)


@pytest.mark.parametrize("told", [False, True], ids=["unreachable", "told"])
def test_a_reader_that_is_gone_keeps_the_turn_for_the_grace_period_only(play, told):
    stream, source = play.open(9)
    other = Call(who="other", on_loop=True)
    play.turns.post(other)
    source.gone = True
    if told:  # by the daemon that relays for it: sending to the daemon always succeeds
        play.host.streams.detach(source, Detach(1, b"a" * 16))
        assert not stream.is_read
    play.host.loop.advance(play.host.grace_s - 1)
    assert other.ran == 0, "it may come back"
    play.host.loop.advance(4)
    assert (stream._stage, other.ran) == (StreamState.YIELDED, 1)


def test_whoever_attaches_then_gets_the_whole_once_the_turn_is_free(play):
    stream, opener = play.open(9)
    opener.gone = True
    play.host.loop.advance(play.host.grace_s + 3)
    other = Call(who="other", on_loop=True)
    play.turns.post(other)
    source, number = play.attach(stream, 0)
    late = Call(who="late", on_loop=True)
    play.turns.post(late)
    assert play.offsets(source, number) == [0, 1], "what is kept comes at once"
    other.done()
    play.threads.until_rest()
    assert play.offsets(source, number) == list(range(9))
    assert source.answers(number)[-1].kind == "end"
    assert late.ran == 1, "it waited for the stream, which came first"


def test_nobody_comes_back_within_a_minute(play):
    stream, opener = play.open(9)
    opener.gone = True
    play.host.loop.advance(KEEP_S)
    assert play.agent.closed == 0
    play.host.loop.advance(3)
    play.threads.until_rest()
    assert play.agent.closed == 1
    source, number = play.attach(stream, 0)
    assert play.offsets(source, number) == [0, 1]
    last = source.answers(number)[-1]
    assert (last.kind, last.code) == ("error", "CallCancelled"), "not an early end"
    assert "nobody read it" in last.message


def test_an_agent_that_ends_does_not_wait_for_a_stream_that_nobody_reads(play):
    _stream, opener = play.open(9)
    opener.gone = True
    play.host.loop.advance(play.host.grace_s + 3)
    play.host.hosted.end("it was deleted")
    play.threads.until_rest()
    while play.threads.tasks:
        play.threads.step()
    assert play.agent.closed == 1
    assert play.host.hosted.object is None


def test_the_calls_of_whoever_reads_it_now_are_let_in(play):
    stream, opener = play.open(9)
    play.attach(stream, 0, credit=0, who="new")
    opener.gone = True
    play.host.loop.advance(3)
    old, new = Call(who=opener.who, on_loop=True), Call(who="new", on_loop=True)
    play.turns.post(old)
    play.turns.post(new)
    assert (old.ran, new.ran) == (0, 1)


def test_sent_again_it_is_the_same_stream(play):
    stream, _opener = play.open(2, credit=5)
    source, number = Source("again"), next(play.numbers)
    assert play.host.streams.again(source, stream.call.renumbered(number))
    assert play.offsets(source, number) == [0, 1]
    unknown, _payload = message(999, "stream", "tell", 2)
    assert not play.host.streams.again(source, unknown)


# -- what is kept ----------------------------------------------------------------------------------
def test_ended_streams_are_forgotten_after_a_minute(play):
    streams = play.host.streams
    for _ in range(100):
        play.refused()
    stream, _source = play.open(3, credit=5)
    assert len(streams._streams) == 101
    play.host.loop.advance(KEEP_S / 2)
    source, number = play.attach(stream, 1)
    assert play.offsets(source, number) == [1, 2]
    play.host.loop.advance(KEEP_S / 2 + 2)
    assert list(streams._streams.values()) == [stream], "somebody read it half a minute ago"
    play.host.loop.advance(KEEP_S)
    assert (streams._streams, streams._readers, play.host.loop.timers) == ({}, {}, 0)
    with pytest.raises(ResultExpired, match="not kept any more"):
        play.attach(stream, 0)


def test_a_reader_that_lags_behind_is_waited_for_and_one_that_is_gone_is_not(play):
    stream, _opener = play.open(4, credit=5)
    slow, number = play.attach(stream, 0, credit=1)
    play.host.loop.advance(5 * KEEP_S)
    play.host.streams.grant(slow, number, 5)
    assert play.offsets(slow, number) == [0, 1, 2, 3]
    assert slow.answers(number)[-1].kind == "end"
    slow, number = play.attach(stream, 0, credit=1)
    slow.gone = True
    play.host.loop.advance(KEEP_S + 5)
    assert play.host.streams._streams == {}


def test_at_most_so_many_are_kept_the_oldest_go_first(play):
    first, _source = play.open(1)
    slow, number = play.attach(first, 0, credit=0)
    for _ in range(ENDED_COUNT):
        play.refused()
    with pytest.raises(ResultExpired):
        play.attach(first, 0)
    assert slow.answers(number)[-1].code == "ResultExpired"
    assert len(play.host.streams._streams) == ENDED_COUNT


def test_at_most_so_many_bytes_are_kept(play, monkeypatch):
    monkeypatch.setattr(module, "ENDED_BYTES", 10_000)
    opened = [play.open(4, 1000, credit=9)[0] for _ in range(5)]
    kept = list(play.host.streams._streams.values())
    assert kept == opened[-2:]
    assert play.host.streams._ended_bytes <= 10_000
    assert sum(len(stream._kept) for stream in opened[:-2]) == 0


def test_credit_goes_to_the_stream_it_is_for_and_to_no_other(play, monkeypatch):
    asked, real = [], OpenStream.grant
    monkeypatch.setattr(OpenStream, "grant", lambda *a: (asked.append(a[0]), real(*a)))
    for _ in range(100):
        play.refused()
    stream, source = play.open(3, credit=0)
    for _ in range(100):
        play.refused()
    number = stream.call.id
    play.host.streams.grant(source, number, 5)
    play.threads.until_rest()
    assert play.offsets(source, number) == [0, 1, 2]
    play.host.streams.grant(source, number, 5)
    play.host.streams.grant(Source("nobody"), number, 5)
    assert asked == [stream]
