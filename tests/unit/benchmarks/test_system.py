import os
import sys
import threading
import time

from benchmarks.system import (
    Snapshot,
    Usage,
    below,
    kernel_s,
    machine,
    pss_kib,
    threads,
    usage,
)


def test_this_process_has_memory_time_and_threads():
    me = os.getpid()
    assert pss_kib([me]) > 1000
    assert usage([me]).cpu_s > 0
    assert any(used.cpu_s > 0 for used in threads(me).values())


def test_a_process_that_is_gone_has_nothing():
    gone = 2**22 + 1  # above the kernel's limit
    assert (pss_kib([gone]), usage([gone]), below(gone)) == (0, Snapshot(0.0, {}), [])
    assert kernel_s(gone) == 0.0


def test_what_was_spent_in_the_kernel_is_part_of_it():
    before, began = kernel_s(os.getpid()), time.process_time()
    while time.process_time() < began + 0.2:
        os.urandom(1 << 20)  # the kernel makes them
    after = kernel_s(os.getpid())
    assert 0.05 < after - before <= time.process_time() - began + 0.02


def test_usage_is_what_was_added():
    used = Snapshot(3.0, {1: 30, 2: 5}).since(Snapshot(1.0, {1: 10}))
    assert used == Usage(2.0, 25)


def test_a_thread_that_ended_takes_nothing_away():
    assert Snapshot(1.0, {1: 12}).since(Snapshot(1.0, {1: 10, 2: 500})).wakeups == 2


def test_the_time_of_threads_that_ended_counts():
    def work():
        ends = time.thread_time() + 0.05
        while time.thread_time() < ends:
            pass

    before = usage([os.getpid()])
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert usage([os.getpid()]).since(before).cpu_s >= 0.05


def test_the_machine_is_told():
    found = machine()
    assert found["python"].split(".")[:2] == [str(part) for part in sys.version_info[:2]]
    assert found["cores"] >= 1
    assert {"cpu", "kernel", "pyzmq", "libzmq", "memory_gib"} <= set(found)
