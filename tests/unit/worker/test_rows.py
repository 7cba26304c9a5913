"""A row does its tasks one after the other, and a slow one holds up nobody."""

import threading
import time
from collections import deque
from types import SimpleNamespace

import pytest

from agentd.worker import rows
from agentd.worker.executor import Executor
from agentd.worker.pace import QUICK_S
from agentd.worker.rows import APART, HEAVY_S, MOST_KINDS, PROOF, SLOW_S, Row

LONG_S = 20


class Looks:
    """The looks that a row wants to have, taken when told to."""

    def __init__(self):
        self.wanted = []

    def __call__(self, seconds, look):
        self.wanted.append(look)

    def take(self):
        wanted, self.wanted = self.wanted, []
        for look in wanted:
            look()


@pytest.fixture
def looks():
    return Looks()


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def row(looks, pauses):
    return Row(Executor(), looks, lambda: pauses.append(threading.get_ident()), lambda: None)


class Reading:
    """This thread reads what comes, and runs what is quick when a test says so."""

    def __init__(self, looks):
        self.now = 100.0  # for the row
        self.executor = Executor()
        self.executor.collect()
        self.handed = deque()
        self.executor.hand_over = self.handed.append
        self.pauses = []
        self.later = 0
        self.row = Row(self.executor, looks, lambda: self.pauses.append(1), self._pause_soon)

    def _pause_soon(self):
        self.later += 1

    def run(self):
        """What was collected or handed over; how many there were."""
        self.executor.collected.extend(self.handed)
        self.handed.clear()
        count = 0
        while self.executor.collected:
            self.executor.collected.popleft()()
            count += 1
        return count

    def prove(self, kind):
        for _ in range(PROOF):
            self.do(kind)

    def do(self, kind, seconds=0.0):
        """It takes so long; the thread that did it."""
        by = []

        def task():
            by.append(threading.get_ident())
            self.now += seconds

        self.row.submit(kind, task)
        self.run()
        until(lambda: by and self.row._runner is None)
        return by[0]


@pytest.fixture
def reading(looks, monkeypatch):
    made = Reading(looks)
    monkeypatch.setattr(rows, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def until(holds):
    end = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_tasks_are_done_in_their_order_on_one_thread(row, pauses):
    done = []
    gate = threading.Event()
    row.submit("a", lambda: gate.wait(LONG_S))
    for number in range(PROOF):
        row.submit("b", lambda n=number: done.append((n, threading.get_ident())))
    gate.set()
    until(lambda: len(done) == PROOF)
    # The first one waited for the gate, which may be found slow; its kind is another one.
    assert [n for n, _thread in done] == list(range(PROOF))
    assert len({thread for _n, thread in done}) == 1
    until(lambda: pauses)


def test_what_waits_behind_a_slow_one_is_done_by_another_thread(row, looks):
    gate, done = threading.Event(), threading.Event()
    begun = threading.Event()
    row.submit("slow", lambda: (begun.set(), gate.wait(LONG_S)))
    row.submit("quick", done.set)
    assert begun.wait(LONG_S)
    looks.take()  # notes which one runs
    assert not done.is_set()
    looks.take()  # and that it still does
    assert done.wait(LONG_S)
    gate.set()


def test_what_a_slow_one_has_to_tell_is_told_when_it_ends(row, looks, pauses):
    gate, done = threading.Event(), threading.Event()
    told = []
    row.submit("slow", lambda: (gate.wait(LONG_S), told.append(len(pauses))))
    row.submit("quick", done.set)
    until(lambda: row._begun)
    looks.take()
    looks.take()
    assert done.wait(LONG_S)
    until(lambda: row._runner is None)
    gate.set()
    until(lambda: told and len(pauses) > told[0])


def test_the_next_ones_of_a_slow_kind_get_a_thread_each(row, looks):
    together = threading.Barrier(APART + 1)
    for _ in range(APART + 1):
        row.submit("slow", lambda: together.wait(LONG_S))
    until(lambda: row._begun == 1)
    looks.take()
    looks.take()
    until(lambda: together.broken or not together.n_waiting)  # all of them met


def test_one_that_waits_for_one_behind_it_does_not_wait_for_ever(row, looks):
    inner, outer = threading.Event(), threading.Event()
    row.submit("a", lambda: (inner.wait(LONG_S), outer.set()))
    row.submit("a", inner.set)
    until(lambda: row._begun)
    looks.take()
    looks.take()
    assert outer.wait(LONG_S)


def test_a_row_that_is_done_is_not_looked_at_any_more(row, looks):
    done = threading.Event()
    row.submit("a", done.set)
    assert done.wait(LONG_S)
    until(lambda: row._runner is None)
    looks.take()
    assert looks.wanted == []
    row.submit("a", done.clear)
    assert len(looks.wanted) == 1


def test_a_task_that_fails_leaves_the_others_alone(row, capsys):
    done = threading.Event()

    def fail():
        raise RuntimeError("a defect")

    row.submit("a", fail)
    row.submit("a", done.set)
    assert done.wait(LONG_S)
    assert "a defect" in capsys.readouterr().err


def test_what_has_been_quick_for_a_while_is_done_by_the_thread_that_reads(reading):
    me = threading.get_ident()
    assert me not in {reading.do("a") for _ in range(PROOF)}
    before, told = len(reading.pauses), reading.later
    assert reading.do("a") == me
    # What there is to tell is told with what else comes in this turn.
    assert (len(reading.pauses), reading.later) == (before, told + 1)
    assert reading.do("b") != me


def test_one_that_took_long_is_not_done_there_any_more(reading):
    me = threading.get_ident()
    reading.prove("a")
    assert reading.do("a", 2 * QUICK_S) == me
    assert me not in {reading.do("a") for _ in range(PROOF + 1)}


@pytest.mark.parametrize("seconds", [2 * QUICK_S, 2 * SLOW_S, HEAVY_S])
def test_a_first_one_that_took_long_changes_nothing(reading, seconds):
    me = threading.get_ident()
    assert reading.do("a", seconds) != me
    assert not reading.row._apart
    assert me not in {reading.do("a") for _ in range(PROOF)}
    assert reading.do("a") == me


def test_one_behind_it_that_is_not_known_is_left_to_another_thread(reading):
    reading.prove("a")
    by, done = {}, threading.Event()
    reading.row.submit("a", lambda: by.update(a=threading.get_ident()))
    reading.row.submit("b", lambda: (by.update(b=threading.get_ident()), done.set()))
    assert reading.run() == 1
    assert done.wait(LONG_S)
    assert by["a"] == threading.get_ident() != by["b"]


def test_a_first_one_that_took_longer_than_imports_do_is_slow(reading):
    together, met = threading.Barrier(APART), []
    reading.do("a", 2 * HEAVY_S)
    for _ in range(APART):
        reading.row.submit("a", lambda: met.append(together.wait(LONG_S)))
    until(lambda: len(met) == APART)


def test_a_slow_kind_that_is_quick_now_needs_no_threads_of_its_own_any_more(reading):
    reading.do("a", 2 * HEAVY_S)
    by = []
    for _ in range(PROOF):
        reading.row.submit("a", lambda: by.append(threading.get_ident()))
    until(lambda: not reading.row._apart)
    assert len(by) == PROOF < APART
    assert reading.do("a") == threading.get_ident()


def test_a_row_of_one_kind_goes_on_with_the_thread_that_reads_once_it_is_known(reading):
    by = []
    for _ in range(PROOF + 20):
        reading.row.submit("a", lambda: by.append(threading.get_ident()))
    until(lambda: reading.handed)
    assert len(by) == PROOF
    assert threading.get_ident() not in by
    reading.run()
    assert by[PROOF:] == [threading.get_ident()] * 20
    assert reading.row._runner is None


def test_where_kinds_alternate_the_row_stays_where_it_is(reading):
    reading.prove("a")
    by, done = [], threading.Event()
    reading.row.submit("b", lambda: by.append(threading.get_ident()))
    for _ in range(10):
        reading.row.submit("a", lambda: by.append(threading.get_ident()))
        reading.row.submit("b", lambda: by.append(threading.get_ident()))
    reading.row.submit("c", done.set)
    assert done.wait(LONG_S)
    assert threading.get_ident() not in by
    assert not reading.handed


def test_what_waits_to_be_handed_over_is_not_found_slow(reading, looks):
    by = []
    for _ in range(PROOF + 2):
        reading.row.submit("a", lambda: by.append(threading.get_ident()))
    until(lambda: reading.handed)
    looks.take()
    looks.take()
    reading.run()
    assert by[PROOF:] == [threading.get_ident()] * 2
    assert reading.do("a") == threading.get_ident()


def test_no_more_than_some_kinds_are_known(reading):
    for number in range(MOST_KINDS + 10):
        reading.row._note(f"kind {number}", 0.0)
    assert len(reading.row._pace) <= MOST_KINDS
