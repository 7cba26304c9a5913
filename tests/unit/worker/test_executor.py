import threading
from collections import deque

import pytest

from agentd.worker import executor as module
from agentd.worker.executor import AFew, Executor
from tests.unit.worker.fakes import Later

LONG_S = 20


def test_tasks_that_wait_for_each_other_finish():
    executor = Executor()
    meeting = threading.Barrier(50)
    done = threading.Semaphore(0)
    for _ in range(50):
        executor.submit(lambda: (meeting.wait(LONG_S), done.release()))

    for _ in range(50):
        assert done.acquire(timeout=LONG_S)


def test_idle_threads_are_used_again():
    executor = Executor()
    names = set()
    for _ in range(50):
        done = threading.Event()
        idle = threading.Event()
        executor.submit(lambda d=done: (names.add(threading.current_thread().name), d.set()))
        assert done.wait(LONG_S)
        while not executor._idle and not idle.wait(0.001):
            pass

    assert len(names) == 1


def test_it_shrinks_when_it_is_quiet(monkeypatch):
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    executor = Executor()
    before = threading.active_count()
    meeting = threading.Barrier(21)
    for _ in range(20):
        executor.submit(lambda: meeting.wait(LONG_S))
    meeting.wait(LONG_S)
    quiet = threading.Event()
    tries = 0
    while (threading.active_count() > before or executor._started) and tries < LONG_S * 100:
        quiet.wait(0.01)
        tries += 1

    assert threading.active_count() <= before
    assert executor._started == 0
    done = threading.Event()
    executor.submit(done.set)
    assert done.wait(LONG_S)


def test_no_task_is_lost_between_waking_and_giving_up(monkeypatch):
    monkeypatch.setattr(module, "IDLE_S", 0.0001)
    executor = Executor()
    done = threading.Semaphore(0)
    pause = threading.Event()
    for number in range(2_000):
        executor.submit(done.release)
        if number % 7 == 0:
            pause.wait(0.0001)

    for _ in range(2_000):
        assert done.acquire(timeout=LONG_S)


class NoThread(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_without_new_threads_a_task_waits_for_one_that_runs(monkeypatch):
    executor = Executor()
    gate, done = threading.Event(), threading.Event()
    executor.submit(lambda: gate.wait(LONG_S))
    monkeypatch.setattr(module.threading, "Thread", NoThread)

    executor.submit(done.set)
    assert not done.is_set()
    gate.set()

    assert done.wait(LONG_S)


def test_without_any_thread_it_says_so(monkeypatch):
    executor = Executor()
    with monkeypatch.context() as patch:
        patch.setattr(module.threading, "Thread", NoThread)
        with pytest.raises(RuntimeError, match="thread"):
            executor.submit(lambda: None)

    done = threading.Event()
    executor.submit(done.set)
    assert done.wait(LONG_S)


def test_a_few_at_a_time_in_the_order_they_came():
    later, done = Later(), []
    few = AFew(later, 2)
    for number in range(5):
        few.submit(lambda n=number: done.append(n))

    assert len(later.tasks) == 2
    later.run()
    assert done == [0, 1, 2, 3, 4]

    few.submit(lambda: done.append("again"))
    assert len(later.tasks) == 1
    later.run()
    assert done[-1] == "again"


def test_it_is_told_before_another_thread_gets_a_task():
    executor, told, over = Executor(), [], threading.Event()
    executor.on_start = lambda: told.append("start")
    executor.collect()
    executor.submit(lambda: told.append("quick"), quick=True)
    assert told == []
    executor.submit(lambda: (told.append("slow"), over.set()))
    assert over.wait(20)
    assert told == ["start", "slow"]


def test_quick_tasks_are_collected_from_the_thread_that_collects():
    executor = Executor()
    executor.collect()
    quick, elsewhere = threading.Event(), threading.Event()
    executor.submit(quick.set, quick=True)
    threading.Thread(target=executor.submit, args=(elsewhere.set,), kwargs={"quick": True}).start()

    assert elsewhere.wait(LONG_S)
    assert not quick.is_set()
    task = executor.collected.popleft()
    assert task is not None
    task()
    assert quick.is_set()
    assert not executor.collected


def test_what_was_collected_runs_when_nobody_collects_any_more():
    executor = Executor()
    executor.collect()
    left, later = threading.Event(), threading.Event()
    executor.submit(left.set, quick=True)

    executor.dismiss()
    executor.submit(later.set, quick=True)

    assert left.wait(LONG_S)
    assert later.wait(LONG_S)


@pytest.mark.parametrize("first", ["it is dismissed", "it adds"])
def test_what_is_added_while_the_collector_is_dismissed_runs_once(first):
    executor, ran, over = Executor(), [], threading.Event()

    class Collected(deque):
        def append(self, task):
            if first == "it is dismissed":
                executor.dismiss()
            super().append(task)
            if first == "it adds":
                executor.dismiss()

    executor.collect()
    executor.collected = collected = Collected()
    executor.submit(lambda: (ran.append("added"), over.set()), quick=True)
    assert over.wait(LONG_S)
    assert ran == ["added"]
    assert not collected
    assert not executor.collected
