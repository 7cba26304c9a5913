"""Who runs the loop of a worker; messages come from a port without sockets."""

import os
import threading
from collections import deque

import pytest

from agentd.transport.loop import Loop
from agentd.transport.processors import move
from agentd.worker.executor import Executor
from agentd.worker.leading import Leading

LONG_S = 20.0


class FakePort:
    """Messages that are put into it, readable by the loop."""

    def __init__(self):
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._inbox = deque()

    def put(self, *messages):
        self._inbox.extend(messages)
        os.eventfd_write(self.fd, 1)

    def receive(self, most):
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass
        messages = [self._inbox.popleft() for _ in range(min(most, len(self._inbox)))]
        return messages, bool(self._inbox)

    def rest_s(self):
        return 0.0


class FakeRouter:
    """Notes when answers are held back."""

    def __init__(self):
        self.told = []

    def hold_back(self):
        self.told.append("held")

    def let_go(self, patience_s=0.0):
        self.told.append("gone")
        return False


class Worker:
    """A loop, an executor, and who leads; each message is ``(task, quick)``."""

    def __init__(self):
        self.loop = Loop()
        self.executor = Executor()
        self.router = FakeRouter()
        self.leading = Leading(self.loop, self.executor, self.router)
        self.port = FakePort()
        self.loop.serve(self.port, lambda m: self.executor.submit(m[0], quick=m[1]))
        self._thread = threading.Thread(target=self.leading.run)
        self._thread.start()

    def stop(self):
        self.loop.call_soon(self.loop.stop)
        self._thread.join(LONG_S)
        assert not self._thread.is_alive()


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.stop()


def test_who_leads_moves_from_a_processor_that_it_shares_with_its_client(worker):
    """What it waits for comes while others have the processor, again and again."""
    assert worker.leading._lookout._move is move


class Noting:
    """A task that notes its thread, and can be kept."""

    def __init__(self, before=lambda: None):
        self.thread = 0
        self.began = threading.Event()
        self.done = threading.Event()
        self.go_on = threading.Event()
        self._before = before

    def __call__(self):
        self.thread = threading.get_ident()
        self.began.set()
        self._before()
        self.done.set()

    def held(self):
        assert self.go_on.wait(LONG_S)


def kept(before=lambda: None):
    task = Noting()

    def hold():
        before()
        task.held()

    task._before = hold
    return task


def test_quick_tasks_run_in_the_thread_of_the_loop_and_others_do_not(worker):
    quick = [Noting() for _ in range(5)]
    slow = Noting()
    for task in quick:
        worker.port.put((task, True))
        assert task.done.wait(LONG_S)
    worker.port.put((slow, False))
    assert slow.done.wait(LONG_S)

    assert len({task.thread for task in quick}) == 1
    assert slow.thread != quick[0].thread


def test_what_a_timer_finds_to_be_quick_does_not_wait_for_the_next_message(worker):
    quick = Noting()
    submit = lambda: worker.executor.submit(quick, quick=True)  # noqa: E731
    worker.loop.call_soon(lambda: worker.loop.later(0, submit))
    assert quick.done.wait(LONG_S)


def test_what_another_thread_finds_to_be_quick_is_run_by_who_leads(worker):
    quick, later = Noting(), Noting()
    worker.port.put((lambda: worker.executor.submit(later, quick=True), False), (quick, True))
    for task in (quick, later):
        assert task.done.wait(LONG_S)
    assert later.thread == quick.thread


def test_quick_tasks_that_follow_each_other_without_end_keep_nobody_waiting(worker):
    over = threading.Event()
    message = Noting(over.set)

    def again():
        if not over.is_set():
            worker.executor.submit(again, quick=True)

    worker.port.put((again, True))
    worker.port.put((message, True))
    assert message.done.wait(LONG_S)
    assert "held" in worker.router.told, "their answers leave together"


def test_a_task_that_takes_long_after_all_keeps_nobody(worker):
    long, after = kept(), [Noting() for _ in range(3)]
    worker.port.put((long, True), *((task, True) for task in after))

    for task in after:  # they came with it, behind it
        assert task.done.wait(LONG_S)
    assert not long.done.is_set()
    assert {task.thread for task in after}.isdisjoint({long.thread})

    long.go_on.set()
    assert long.done.wait(LONG_S)
    later = Noting()
    worker.port.put((later, True))
    assert later.done.wait(LONG_S)
    assert later.thread != long.thread


def test_who_begins_to_wait_gives_the_lead_away_at_once(worker, monkeypatch):
    monkeypatch.setattr("agentd.worker.leading.TICK_S", LONG_S)  # the watch comes too late
    waiting, wanted = kept(worker.leading.gives_way), Noting()
    worker.port.put((waiting, True))
    assert waiting.began.wait(LONG_S)
    worker.port.put((wanted, True))

    assert wanted.done.wait(LONG_S / 2)
    assert not waiting.done.is_set()
    waiting.go_on.set()


def test_giving_way_changes_nothing_for_who_does_not_lead(worker):
    slow = Noting(worker.leading.gives_way)
    before, after = Noting(), Noting()
    for task, quick in ((before, True), (slow, False), (after, True)):
        worker.port.put((task, quick))
        assert task.done.wait(LONG_S)

    assert before.thread == after.thread


def test_many_long_ones_one_after_the_other_all_run(worker):
    tasks = [kept() for _ in range(20)]
    worker.port.put(*((task, True) for task in tasks))
    for task in tasks:
        assert task.began.wait(LONG_S)
    for task in tasks:
        task.go_on.set()
    for task in tasks:
        assert task.done.wait(LONG_S)

    assert len({task.thread for task in tasks}) == 20


def test_answers_that_leave_together_leave_at_last(worker):
    first = kept()
    worker.port.put((first, False))
    tasks = [Noting() for _ in range(10)]
    worker.port.put(*((task, True) for task in tasks))
    for task in tasks:
        assert task.done.wait(LONG_S)
    first.go_on.set()
    end = Noting()
    worker.port.put((end, True))
    assert end.done.wait(LONG_S)
    worker.loop.call_soon(worker.loop.stop)
    worker._thread.join(LONG_S)

    assert worker.router.told[-1:] in ([], ["gone"])


def test_answers_held_back_are_let_go_when_the_lead_is_lost(worker):
    first, long = Noting(), kept()
    gone = threading.Event()
    worker.router.let_go = lambda patience_s=0.0: gone.set() if not patience_s else True
    worker.port.put((first, True), (long, True), (Noting(), True))

    assert gone.wait(LONG_S)
    assert not long.done.is_set()
    long.go_on.set()


def test_after_one_quick_task_the_next_message_is_expected_at_once(worker):
    expected = []
    after = worker.loop.turn

    def turn():
        expected.append(worker.loop.lookout is not None)
        return after()

    worker.loop.turn = turn
    for tasks in ([Noting()], [Noting(), Noting()]):
        worker.port.put(*((task, True) for task in tasks))
        for task in tasks:
            assert task.done.wait(LONG_S)
    slow = Noting()
    worker.port.put((slow, False))
    assert slow.done.wait(LONG_S)
    last = Noting()
    worker.loop.call_soon(last)
    assert last.done.wait(LONG_S)

    assert True in expected
    assert expected[-1] is False
