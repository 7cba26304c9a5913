import logging
import os
import signal
import threading

import pytest

from agentd.transport import local
from agentd.transport.lines import by_route
from agentd.transport.localport import LocalPort
from agentd.transport.lookout import PROOF, Lookout
from agentd.transport.loop import Loop
from tests.clocks import Clock


@pytest.fixture
def clock():
    return Clock(0.0)


@pytest.fixture
def loop(clock):
    return Loop(clock)


def turn(loop, clock=None, to=0.0):
    """One turn that does not wait."""
    if clock is not None:
        clock.now = to
    loop.call_soon(lambda: None)
    loop.turn()


def test_timers_run_in_their_order_once(loop, clock):
    done = []
    for seconds in (3, 1, 2):
        loop.later(seconds, lambda s=seconds: done.append(s))
    turn(loop, clock, 0.5)
    assert done == []

    turn(loop, clock, 2.5)
    assert done == [1, 2]

    turn(loop, clock, 10)
    turn(loop, clock, 20)
    assert done == [1, 2, 3]


def test_timers_of_one_moment_run_in_the_order_they_were_made(loop, clock):
    done = []
    for number in range(20):
        loop.later(1, lambda n=number: done.append(n))

    turn(loop, clock, 1)

    assert done == list(range(20))


def test_a_cancelled_timer_does_not_run(loop, clock):
    done = []
    timer = loop.later(1, lambda: done.append("no"))
    loop.later(1, lambda: done.append("yes"))
    timer.cancel()

    turn(loop, clock, 2)

    assert done == ["yes"]


def test_one_timer_can_cancel_or_make_another(loop, clock):
    done = []
    first = loop.later(1, lambda: (second.cancel(), loop.later(0, lambda: done.append("made"))))
    second = loop.later(1, lambda: done.append("cancelled"))
    assert first is not second

    turn(loop, clock, 2)
    turn(loop, clock, 2)

    assert done == ["made"]


def test_an_action_that_raises_is_logged_and_the_others_go_on(loop, clock, caplog):
    done = []
    loop.later(1, lambda: 1 / 0)
    loop.later(1, lambda: done.append("timer"))
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(lambda: done.append("soon"))

    with caplog.at_level(logging.ERROR):
        turn(loop, clock, 1)

    assert done == ["soon", "timer"]
    assert [r.action for r in caplog.records] == ["defect", "defect"]


def test_a_descriptor_whose_action_raises_is_let_go(loop, caplog):
    read, write = os.pipe()
    os.write(write, b"x")
    calls = []

    def action():
        calls.append(1)
        raise ValueError

    loop.watch(read, action)
    turn(loop)
    turn(loop)

    assert calls == [1]
    assert len(caplog.records) == 1
    os.close(read)
    os.close(write)


def test_a_descriptor_is_watched_until_it_is_not(loop):
    read, write = os.pipe()
    got = []
    loop.watch(read, lambda: got.append(os.read(read, 1)))
    os.write(write, b"abc")
    turn(loop)
    turn(loop)
    loop.unwatch(read)
    loop.unwatch(read)

    turn(loop)

    assert got == [b"a", b"b"]
    os.close(read)
    os.close(write)


def test_another_thread_wakes_it(loop):
    done = []
    thread = threading.Thread(target=lambda: loop.call_soon(lambda: done.append(1)))
    thread.start()

    while not done:
        loop.turn()  # waits without limit

    thread.join()


def test_signals_run_in_the_loop(loop):
    before = signal.getsignal(signal.SIGUSR1)
    done = []
    try:
        loop.on_signal(signal.SIGUSR1, lambda: done.append(threading.get_ident()))
        os.kill(os.getpid(), signal.SIGUSR1)
        while not done:
            loop.turn()
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.set_wakeup_fd(-1)

    assert done == [threading.get_ident()]


def test_signals_of_others_are_theirs_and_one_that_fails_ends_none(loop, capfd):
    numbers = signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH
    before = [signal.getsignal(number) for number in numbers]
    done = []

    def fail():
        done.append("failed")
        raise RuntimeError

    try:
        loop.on_signal(signal.SIGUSR1, fail)
        loop.on_signal(signal.SIGUSR2, lambda: done.append("second"))
        signal.signal(signal.SIGWINCH, lambda _number, _frame: done.append("theirs"))
        for _ in range(2):
            for number in (signal.SIGWINCH, signal.SIGUSR1, signal.SIGUSR2):
                os.kill(os.getpid(), number)
            del done[:-1]
            while "second" not in done:
                loop.turn()
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)

    assert done[-2:] == ["failed", "second"]


def test_it_runs_until_it_is_stopped(loop):
    turns = []

    def again():
        turns.append(1)
        if len(turns) == 5:
            loop.stop()
        loop.call_soon(again)

    loop.call_soon(again)
    loop.run()

    assert len(turns) >= 5


def test_what_is_sent_soon_leaves_together_in_the_same_turn(loop):
    mine, its = (LocalPort(end) for end in local.pair())
    loop.send_soon(mine, [b"a"])
    loop.send_soon(mine, [b"b"])
    assert its.receive(10) == ([], False)
    loop.turn()
    assert its.receive(10)[0] == [[b"a"], [b"b"]]
    mine.close()
    its.close()


@pytest.fixture
def awake(clock):
    """A lookout whose last waits were short."""
    lookout = Lookout(clock, enough=lambda _now: True)
    for _ in range(PROOF):
        lookout.wait(lambda: 1, lambda: 1)
    assert lookout._awake
    return lookout


def test_what_is_expected_at_once_is_looked_for(loop, awake):
    mine, its = (LocalPort(end) for end in local.pair())
    came = []
    loop.serve(mine, came.append)
    loop.turn()
    loop.lookout = awake
    its.send([b"a"])
    loop.turn()
    assert came == [[b"a"]]
    assert awake._short == 1  # it was there at once

    loop.lookout = None
    its.send([b"b"])
    loop.turn()
    assert came == [[b"a"], [b"b"]]
    assert awake._short == 1
    mine.close()
    its.close()


def test_it_looks_for_nothing_while_there_is_something_to_do(loop, awake):
    loop.lookout = awake
    turn(loop)
    assert (awake._awake, awake._short) == (True, 0)


@pytest.mark.parametrize("whose", [None, by_route])
def test_it_is_known_of_whom_something_waits_to_be_delivered(loop, clock, whose):
    port, peer, other, another = (LocalPort(end) for _ in range(2) for end in local.pair())
    seen = []

    def deliver(frames):
        seen.append((bytes(frames[1]), loop.is_behind(port), loop.is_behind(other)))
        clock.now += 1.0  # long enough for this turn to end

    loop.serve(port, deliver, whose)
    loop.serve(other, lambda _frames: None)
    turn(loop)
    assert not loop.is_behind(port)
    for number in range(3):
        peer.send([b"", b"%d" % number])
    while len(seen) < 3:
        turn(loop)
    assert [behind for _text, behind, _other in seen] == [True, True, False]
    assert not any(behind for _text, _behind, behind in seen)
    assert not loop.is_behind(port)
    for each in (port, peer, other, another):
        each.close()
