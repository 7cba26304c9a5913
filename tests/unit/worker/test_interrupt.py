"""Stopping what another thread runs: that, and nothing else."""

import random
import threading

import pytest

from agentd.errors import CallCancelled
from agentd.worker.interrupt import Interruptible

LONG_S = 20
RACES = 2_000


def spin(entered, ended):
    entered.set()
    while not ended.is_set():
        pass
    return "ran to its end"


class Runner(threading.Thread):
    """Runs one in a thread of its own; what came of it, and what came after it."""

    def __init__(self, work, function, *args):
        super().__init__(daemon=True)
        self.work, self.function, self.args = work, function, args
        self.value = self.error = self.stray = None
        self.start()

    def run(self):
        try:
            try:
                self.value = self.work.run(self.function, *self.args)
            except CallCancelled as error:
                self.error = error
            for _ in range(2_000):  # nothing may come any more
                pass
        except BaseException as error:
            self.stray = error

    def finish(self):
        self.join(LONG_S)
        assert not self.is_alive()
        assert self.stray is None
        return self


def test_undisturbed_it_gives_its_value_or_raises_its_error():
    assert Interruptible().run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        Interruptible().run(divmod, 7, 0)


def test_told_to_stop_before_it_never_runs():
    work, ran = Interruptible(), []
    work.stop()
    with pytest.raises(CallCancelled):
        work.run(ran.append, 1)
    assert ran == []


def test_told_to_stop_while_it_runs_it_raises_in_its_thread():
    work, entered, ended = Interruptible(), threading.Event(), threading.Event()
    runner = Runner(work, spin, entered, ended)
    assert entered.wait(LONG_S)
    work.stop()
    work.stop()
    assert isinstance(runner.finish().error, CallCancelled)


def test_told_to_stop_afterwards_nothing_comes():
    work = Interruptible()
    runner = Runner(work, divmod, 7, 2).finish()
    work.stop()
    assert runner.value == (3, 1)


def test_code_that_catches_it_is_not_told_again():
    work, entered, ended = Interruptible(), threading.Event(), threading.Event()

    def stubborn():
        try:
            spin(entered, ended)
        except CallCancelled:
            return [i for i in range(10_000) if i % 2][-1]

    runner = Runner(work, stubborn)
    assert entered.wait(LONG_S)
    work.stop()
    assert runner.finish().value == 9_999


def test_two_thousand_races_and_it_is_never_delivered_outside():
    """One thread runs them in a row, another stops each somewhere before, during or after it."""
    box, ready, outside, seen = [], threading.Semaphore(0), [], {"value": 0, "stopped": 0}
    checked = threading.Semaphore(0)

    def runs():
        try:
            for _ in range(RACES):
                work = Interruptible()
                box.append(work)
                ready.release()
                try:
                    work.run(sum, range(random.choice((1, 100, 3_000))))
                    seen["value"] += 1
                except CallCancelled:
                    seen["stopped"] += 1
                for _ in range(50):
                    pass
                assert checked.acquire(timeout=LONG_S)
        except BaseException as error:
            outside.append(error)

    runner = threading.Thread(target=runs, daemon=True)
    runner.start()
    for number in range(RACES):
        if not ready.acquire(timeout=LONG_S):
            break
        for _ in range(random.randrange(300)):
            pass
        box[number].stop()
        checked.release()
    runner.join(LONG_S)

    assert not runner.is_alive()
    assert outside == []
    assert seen["value"] + seen["stopped"] == RACES
