"""Whose turn it is, with an executor that runs when told to."""

import threading

import pytest

from agentd.errors import AgentNotFound, Overloaded, WouldDeadlock
from agentd.worker.executor import Executor
from agentd.worker.hosted import Hosted
from agentd.worker.turns import READS, TurnOptions, Turns
from tests.unit.worker.fakes import NOWHERE, Call, Later

A, B = b"a" * 16, b"b" * 16
LONG_S = 20


@pytest.fixture
def later():
    return Later()


def turns(executor, **options):
    return Turns(A, executor, TurnOptions(**options))


def posted(to, *calls):
    for call in calls:
        to.post(call)
    return calls


def ran(calls):
    return [call.ran for call in calls]


# -- one at a time ---------------------------------------------------------------------------------
def test_in_the_order_they_came(later):
    mine, done = turns(later), []
    for number in range(200):
        mine.post(Call(does=lambda n=number: done.append(n)))
    later.run()
    assert done == list(range(200))
    assert mine.depth == 0


def test_what_has_proven_to_be_quick_while_it_waited_goes_back_to_who_runs_such_calls(later):
    mine = turns(later)
    calls = posted(mine, *(Call() for _ in range(5)))
    calls[1].does = lambda: [setattr(call, "quick", True) for call in calls[2:]]
    later.run()
    assert ran(calls) == [1] * 5
    assert later.quick == [False, True, True, True], "two in a row, then each by itself"


def test_what_has_proven_to_be_slow_since_it_was_handed_on_runs_alone(later):
    mine = turns(later)
    first, second = Call(), Call()
    first.quick = True
    posted(mine, first, second)
    first.quick = False
    later.run()
    assert later.quick == [True, False], "the thread of the first one may have others waiting"


def test_who_made_a_call_is_told_that_it_is_accepted_before_it_begins():
    """Also where the one before it ends at that moment: its code may keep Python's lock."""
    mine, happened, told = turns(Executor()), [], threading.Event()
    before = threading.Event()

    def accepted():
        before.set()  # the one before it ends now
        told.wait(0.2)
        happened.append("accepted")

    mine.post(Call(does=lambda: before.wait(LONG_S)))
    over = threading.Event()
    second = Call(does=lambda: (happened.append("begun"), told.set(), over.set()))
    second.accepted = accepted
    mine.post(second)
    assert over.wait(LONG_S)
    assert happened == ["accepted", "begun"]


@pytest.mark.parametrize("on_loop", [False, True])
def test_the_next_one_begins_when_the_one_before_has_ended(later, on_loop):
    mine = turns(later)
    first, second = posted(mine, Call(on_loop=True), Call(on_loop=on_loop))
    later.run()
    assert ran((first, second)) == [1, 0]
    first.done()
    later.run()
    assert ran((first, second)) == [1, 1]


def test_threads_and_the_event_loop_take_turns_in_one_queue(later):
    mine = turns(later)
    calls = posted(mine, *(Call(n, on_loop=n % 2 == 1) for n in range(6)))
    for number in range(6):
        later.run()
        assert ran(calls) == [1] * min(6, number // 2 * 2 + 2) + [0] * (4 - number // 2 * 2)
        if number % 2 == 1:
            calls[number].done()


def test_a_call_that_raises_is_told_and_its_turn_ends(later, capsys):
    def fail():
        raise SystemExit("a defect")

    mine = turns(later)
    _bad, good = posted(mine, Call(does=fail), Call())
    later.run()
    assert good.ran == 1
    assert "a defect" in capsys.readouterr().err


def test_one_at_a_time_on_real_threads():
    mine, inside, most, done = turns(Executor()), [], [], threading.Semaphore(0)

    def work():
        inside.append(1)
        most.append(len(inside))
        inside.pop()
        done.release()

    def post():
        for _ in range(300):
            mine.post(Call(does=work))

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(1_200):
        assert done.acquire(timeout=LONG_S)
    for thread in threads:
        thread.join()
    assert set(most) == {1}


# -- more than one at a time -----------------------------------------------------------------------
def test_max_concurrency_is_how_many_run_at_once(later):
    mine = turns(later, max_concurrency=3)
    calls = posted(mine, *(Call(n, on_loop=True) for n in range(5)))
    assert ran(calls) == [1, 1, 1, 0, 0]
    calls[1].done()
    assert ran(calls) == [1, 1, 1, 1, 0]
    calls[0].done()
    calls[2].done()
    assert ran(calls) == [1] * 5


def test_readonly_runs_beside_a_running_call_and_those_that_wait(later):
    mine = turns(later)
    busy, waits, reads = posted(mine, *(Call(n, on_loop=True, readonly=n == 2) for n in range(3)))
    assert ran((busy, waits, reads)) == [1, 0, 1]
    reads.done()
    assert waits.ran == 0
    busy.done()
    assert waits.ran == 1


def test_a_turn_that_ends_beside_a_readonly_call_does_not_let_two_in(later):
    mine = turns(later)
    busy, reads, one, two = posted(
        mine, *(Call(n, on_loop=True, readonly=n == 1) for n in range(4))
    )
    busy.done()
    reads.done()
    assert ran((one, two)) == [1, 0]
    one.done()
    assert two.ran == 1


def test_readonly_keeps_no_turn_from_starting(later):
    mine = turns(later)
    (_reads, one, two) = posted(
        mine, Call(on_loop=True, readonly=True), Call(on_loop=True), Call(on_loop=True)
    )
    assert ran((one, two)) == [1, 0]
    one.done()
    assert two.ran == 1


def test_so_many_readonly_calls_at_once_and_the_others_in_order(later):
    mine = turns(later)
    reads = posted(mine, *(Call(n, on_loop=True, readonly=True) for n in range(READS + 3)))
    assert ran(reads) == [1] * READS + [0] * 3
    (plain,) = posted(mine, Call(on_loop=True))
    assert plain.ran == 1, "they do not block the turn"
    reads[5].done()
    assert ran(reads[READS:]) == [1, 0, 0]
    assert mine.withdraw(reads[READS + 1])
    reads[7].done()
    assert ran(reads[READS:]) == [1, 0, 1]


def test_readonly_on_behalf_of_another_call_here_never_waits(later):
    mine = turns(later)
    posted(mine, *(Call(n, on_loop=True, readonly=True) for n in range(READS)))
    nested, other = posted(mine, back(readonly=True), Call(on_loop=True, readonly=True))
    assert ran((nested, other)) == [1, 0]
    nested.done()
    assert other.ran == 0, "they are as many as may run without it"


def test_readonly_calls_run_on_so_many_threads(later):
    mine = turns(later)
    posted(mine, *(Call(n, readonly=True) for n in range(10 * READS)))
    assert len(later.tasks) == READS


@pytest.mark.parametrize("busy", ["queue", "reject", "interrupt"])
def test_a_busy_agent_and_too_many_readonly_calls(later, busy):
    mine = turns(later, busy=busy, mailbox=2)
    (plain,) = posted(mine, Call(on_loop=True))
    posted(mine, *(Call(n, on_loop=True, readonly=True) for n in range(READS)))
    more = posted(mine, *(Call(n, on_loop=True, readonly=True) for n in range(3)))
    refused = [isinstance(call.refused, Overloaded) for call in more]
    assert refused == ([True] * 3 if busy == "reject" else [False, False, True])
    assert plain.interrupted == 0


def test_an_object_goes_when_the_last_readonly_call_has_ended(later):
    mine = turns(later, max_concurrency=3)
    reads, plain = posted(mine, Call(on_loop=True, readonly=True), Call(on_loop=True))
    assert mine.close(AgentNotFound("it ended")) == [plain, reads]
    last, after = Call(on_loop=True), Call(on_loop=True)
    mine.post_always(last)
    mine.post_always(after)
    plain.done()
    assert last.ran == 0
    reads.done()
    assert ran((last, after)) == [1, 0]


def test_a_readonly_stream_that_stands_still_is_in_nobodys_way(later):
    mine = turns(later)
    reads = posted(mine, *(Call(n, on_loop=True, readonly=True) for n in range(READS + 1)))
    mine.stall(reads[0])
    assert reads[READS].ran == 1
    mine.leave(reads[0])
    mine.resume(reads[0])
    (stream,) = posted(mine, Call(on_loop=True, who="other"))
    mine.stall(stream)
    mine.stall(reads[1])
    (guest,) = posted(mine, Call(on_loop=True))
    assert guest.ran == 0, "its reader is no reader of the other one"


# -- a busy agent ----------------------------------------------------------------------------------
def test_a_full_queue_is_overloaded(later):
    mine = turns(later, mailbox=2)
    busy, one, two, three = posted(mine, *(Call(n, on_loop=True) for n in range(4)))
    assert isinstance(three.refused, Overloaded)
    assert (three.refused.limit, three.refused.retry_after) == (2, 0.1)
    assert three.refused.agent == A.hex()
    busy.done()
    four, five = posted(mine, Call(on_loop=True), Call(on_loop=True))
    assert (four.refused is None, isinstance(five.refused, Overloaded)) == (True, True)
    assert one.ran == 1
    one.done()
    assert ran((two, three, four)) == [1, 0, 0]


def test_reject_takes_no_call_while_one_runs(later):
    mine = turns(later, busy="reject")
    busy, other, reads = posted(mine, *(Call(on_loop=True, readonly=n == 2) for n in range(3)))
    assert isinstance(other.refused, Overloaded)
    assert other.refused.limit == 0
    assert reads.ran == 1
    busy.done()
    reads.done()
    (again,) = posted(mine, Call(on_loop=True))
    assert again.ran == 1


def test_reject_lets_in_who_comes_between_the_answer_and_the_end_of_the_turn(later):
    mine = turns(later, busy="reject")
    (first,) = posted(mine, Call(on_loop=True))
    first.ended = True  # its caller has the answer, and calls again
    second, third = posted(mine, Call(on_loop=True), Call(on_loop=True))
    assert (first.refused, second.refused, second.ran) == (None, None, 0)
    assert isinstance(third.refused, Overloaded)
    first.done()
    assert second.ran == 1
    (fourth,) = posted(mine, Call(on_loop=True))
    assert isinstance(fourth.refused, Overloaded)


def test_an_agent_that_rejects_takes_the_first_call_while_it_still_tells_that_it_is_ready():
    executor = Later()
    hosted = Hosted(A, 1, "m:T", executor, TurnOptions(busy="reject"), NOWHERE)
    calls = [Call(), Call()]
    hosted.post(lambda: posted(hosted.turns, *calls))  # it comes as soon as somebody knows
    executor.run()
    assert (calls[0].ran, calls[0].refused) == (1, None)
    assert isinstance(calls[1].refused, Overloaded)


def test_interrupt_stops_the_running_call_and_comes_next(later):
    mine = turns(later, busy="interrupt")
    busy, newer = posted(mine, Call(on_loop=True), Call(on_loop=True))
    assert (busy.interrupted, newer.ran) == (1, 0)
    busy.done()
    assert newer.ran == 1
    assert newer.interrupted == 0


def test_a_withdrawn_call_never_starts(later):
    mine = turns(later)
    busy, waits = posted(mine, Call(on_loop=True), Call())
    assert mine.withdraw(waits)
    assert not mine.withdraw(waits)
    assert not mine.withdraw(busy)
    busy.done()
    later.run()
    assert waits.ran == 0


# -- chains ----------------------------------------------------------------------------------------
def back(key=b"k", **more):
    """A call on behalf of one that this agent waits for."""
    return Call(on_loop=True, chain=((A, key), (B, b"other")), **more)


def test_a_call_that_comes_back_is_told_so_with_its_chain(later):
    mine = turns(later)
    (busy,) = posted(mine, Call(on_loop=True))
    mine.waits(b"k", begins=True)
    (again,) = posted(mine, back())
    assert isinstance(again.refused, WouldDeadlock)
    assert again.refused.chain == [A.hex()[:8], B.hex()[:8], A.hex()[:8]]
    assert " -> ".join(again.refused.chain) in str(again.refused)
    assert "reentrant=True" in str(again.refused)
    assert again.ran == 0
    busy.done()


def test_a_call_that_waits_is_told_so_when_the_waiting_for_it_begins_later(later):
    mine = turns(later)
    posted(mine, Call(on_loop=True))
    again, stranger = posted(mine, back(), back(b"no"))
    assert again.refused is None
    mine.waits(b"k", begins=True)
    assert isinstance(again.refused, WouldDeadlock)
    assert stranger.refused is None


def test_a_call_that_nobody_waits_for_any_more_is_queued(later):
    mine = turns(later)
    (busy,) = posted(mine, Call(on_loop=True))
    mine.waits(b"k", begins=True)
    mine.waits(b"k", begins=False)
    (again,) = posted(mine, back())
    assert (again.refused, again.ran) == (None, 0)
    busy.done()
    assert again.ran == 1


@pytest.mark.parametrize("first", ["waits", "call"])
def test_reentrant_runs_it_as_part_of_the_turn(later, first):
    mine = turns(later, reentrant=True)
    again, other = back(), Call(on_loop=True)
    (busy,) = posted(mine, Call(on_loop=True))
    if first == "waits":
        mine.waits(b"k", begins=True)
        posted(mine, again, other)
    else:
        posted(mine, again, other)
        assert again.ran == 0
        mine.waits(b"k", begins=True)
    assert ran((again, other)) == [1, 0]
    again.done()
    assert other.ran == 0, "the turn is not over yet"
    mine.waits(b"k", begins=False)
    busy.done()
    assert other.ran == 1


def test_two_may_wait_for_the_same_call(later):
    mine = turns(later)
    posted(mine, Call(on_loop=True))
    mine.waits(b"k", begins=True)
    mine.waits(b"k", begins=True)
    mine.waits(b"k", begins=False)
    (again,) = posted(mine, back())
    assert isinstance(again.refused, WouldDeadlock)
    mine.waits(b"k", begins=False)
    (later_one,) = posted(mine, back())
    assert later_one.refused is None


# -- ending ----------------------------------------------------------------------------------------
def test_close_refuses_what_waits_and_what_comes(later):
    mine = turns(later)
    busy, waits = posted(mine, Call(on_loop=True), Call())
    error = AgentNotFound("it ended")
    assert mine.close(error) == [busy]
    (late,) = posted(mine, Call())
    assert (busy.refused, waits.refused, late.refused) == (None, error, error)
    last = Call()
    mine.post_always(last)
    assert last.ran == 0
    busy.done()
    later.run()
    assert ran((waits, late, last)) == [0, 0, 1]


def test_post_always_knows_no_limit(later):
    mine = turns(later, mailbox=1)
    (busy, waits) = posted(mine, Call(on_loop=True), Call())
    last = Call()
    mine.post_always(last)
    busy.done()
    later.run()
    assert ran((waits, last)) == [1, 1]


# -- streams that stand still ----------------------------------------------------------------------
def test_a_stalled_stream_lets_in_its_own_reader_only(later):
    mine = turns(later)
    (stream,) = posted(mine, Call(on_loop=True, who="reader"))
    mine.stall(stream)
    other, own = posted(mine, Call(on_loop=True, who="other"), Call(on_loop=True, who="reader"))
    assert ran((other, own)) == [0, 1]
    own.done()
    assert other.ran == 0
    mine.resume(stream)
    stream.done()
    assert other.ran == 1


def test_one_of_the_readers_calls_at_a_time(later):
    mine = turns(later)
    (stream,) = posted(mine, Call(on_loop=True))
    mine.stall(stream)
    calls = posted(mine, *(Call(n, on_loop=True) for n in range(3)))
    assert ran(calls) == [1, 0, 0]
    calls[0].done()
    assert ran(calls) == [1, 1, 0]
    mine.unstall(stream)
    calls[1].done()
    assert ran(calls) == [1, 1, 0], "the stream goes on first"
    stream.done()
    assert ran(calls) == [1, 1, 1]


def test_a_call_that_waits_already_is_let_in_when_the_stream_stands_still(later):
    mine = turns(later)
    stream, other, own = posted(
        mine, Call(on_loop=True), Call(on_loop=True, who="other"), Call(on_loop=True)
    )
    assert ran((other, own)) == [0, 0]
    mine.stall(stream)
    assert ran((other, own)) == [0, 1]


def test_the_stream_goes_on_after_the_call_it_let_in(later):
    mine = turns(later)
    (stream,) = posted(mine, Call(on_loop=True))
    mine.stall(stream)
    (own,) = posted(mine, Call(on_loop=True))
    went_on = threading.Event()

    def resume():
        mine.resume(stream)
        went_on.set()

    threading.Thread(target=resume, daemon=True).start()
    assert not went_on.wait(0.05)
    own.done()
    assert went_on.wait(LONG_S)
    (late,) = posted(mine, Call(on_loop=True))
    assert late.ran == 0


def test_a_stream_beside_another_running_call_lets_nobody_in(later):
    mine = turns(later, max_concurrency=2)
    stream, _busy = posted(mine, Call(on_loop=True), Call(on_loop=True))
    mine.stall(stream)
    (own,) = posted(mine, Call(on_loop=True))
    assert own.ran == 0


def on_a_thread(action, *args):
    """An event that is set when the action is done."""
    done = threading.Event()

    def work():
        action(*args)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    return done


def test_streams_of_one_reader_that_share_a_turn_go_on_in_turns(later):
    mine = turns(later)
    one, two, three = (Call(n, on_loop=True) for n in range(3))
    for stream in (one, two, three):
        posted(mine, stream)
        assert stream.ran == 1
        mine.stall(stream)
    for _ in range(3):
        mine.resume(one)
        second, third = on_a_thread(mine.resume, two), on_a_thread(mine.resume, three)
        assert not second.wait(0.02)
        assert not third.wait(0.02)
        mine.stall(one)
        while not (second.wait(0.01) or third.wait(0.01)):
            pass
        first = (two, three) if second.is_set() else (three, two)
        mine.stall(first[0])
        assert second.wait(LONG_S)
        assert third.wait(LONG_S)
        mine.stall(first[1])


def test_others_have_their_turn_when_all_that_shared_one_have_ended(later):
    mine = turns(later)
    (stream,) = posted(mine, Call(on_loop=True))
    mine.stall(stream)
    guest, other = posted(mine, Call(on_loop=True), Call(on_loop=True, who="other"))
    mine.stall(guest)
    mine.resume(stream)
    stream.done()
    assert (guest.ran, other.ran) == (1, 0)
    mine.resume(guest)
    guest.done()
    assert other.ran == 1


def test_a_stream_that_ends_waits_for_the_call_it_let_in(later):
    mine = turns(later)
    (stream,) = posted(mine, Call(on_loop=True))
    mine.stall(stream)
    (own,) = posted(mine, Call(on_loop=True))
    mine.unstall(stream)
    (late,) = posted(mine, Call(on_loop=True))
    resumed = on_a_thread(mine.resume, stream)
    assert not resumed.wait(0.02)
    own.done()
    assert resumed.wait(LONG_S)
    assert late.ran == 0


def test_streams_with_a_turn_each_do_not_wait_for_each_other(later):
    mine = turns(later, max_concurrency=2)
    one, two = posted(mine, Call(on_loop=True), Call(on_loop=True))
    for stream in (one, two):
        mine.stall(stream)
    for stream in (one, two):
        assert on_a_thread(mine.resume, stream).wait(LONG_S)


# -- streams that nobody reads ---------------------------------------------------------------------
def left(mine, *more):
    """A stream that gave its turn back."""
    (stream,) = posted(mine, Call(on_loop=True, who="gone"))
    mine.stall(stream)
    posted(mine, *more)
    mine.leave(stream)
    return stream


def test_a_turn_that_is_given_back_goes_to_whoever_waits(later):
    mine = turns(later)
    one, two = Call(on_loop=True), Call(on_loop=True)
    left(mine, one, two)
    assert ran((one, two)) == [1, 0]
    one.done()
    assert two.ran == 1


def test_it_takes_another_turn_in_line(later):
    mine = turns(later)
    one, two, three = (Call(n, on_loop=True) for n in range(3))
    stream = left(mine, one, two)
    mine.unstall(stream)
    posted(mine, three)
    resumed = on_a_thread(mine.resume, stream)
    one.done()
    assert two.ran == 1
    assert not resumed.wait(0.02)
    two.done()
    assert resumed.wait(LONG_S)
    assert three.ran == 0
    stream.done()
    assert three.ran == 1


def test_it_goes_on_at_once_where_nobody_else_runs(later):
    mine = turns(later)
    stream = left(mine)
    assert on_a_thread(mine.resume, stream).wait(LONG_S)
    (other,) = posted(mine, Call(on_loop=True))
    assert other.ran == 0
    mine.stall(stream)
    mine.leave(stream)
    assert other.ran == 1


def test_one_that_takes_its_turn_again_can_be_neither_withdrawn_nor_refused(later):
    mine = turns(later)
    (busy,) = posted(mine, Call(on_loop=True))
    busy.done()
    one = Call(on_loop=True)
    stream = left(mine, one)
    mine.unstall(stream)
    assert not mine.withdraw(stream)
    assert mine.close(AgentNotFound("it ended")) == [one, stream]
    assert stream.refused is None
    last = Call(on_loop=True)
    mine.post_always(last)
    one.done()
    assert on_a_thread(mine.resume, stream).wait(LONG_S)
    assert last.ran == 0
    stream.done()
    assert last.ran == 1


def test_an_agent_that_ends_gives_up_what_nobody_reads(later):
    mine = turns(later)
    stream, error = left(mine), AgentNotFound("it ended")
    assert mine.close(error) == []
    assert stream.given_up is error


def test_one_that_goes_on_just_now_keeps_its_turn(later):
    mine = turns(later)
    (stream,) = posted(mine, Call(on_loop=True))
    mine.stall(stream)
    mine.unstall(stream)
    mine.leave(stream)
    (other,) = posted(mine, Call(on_loop=True, who="other"))
    assert other.ran == 0
