"""What a process knows of itself, and of others."""

import resource
import subprocess
import sys
import time

import pytest

from agentd.transport.process import activity, resident_bytes

LONG_S = 20


def test_memory_is_known_and_grows():
    before = resident_bytes()
    block = b"x" * (64 << 20)
    assert resident_bytes() - before > 32 << 20
    del block


def test_memory_is_known_without_any_descriptor_to_be_had():
    resident_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert resident_bytes() > 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_forked_child_looks_at_its_own():
    program = (
        "import os; from agentd.transport.process import resident_bytes\n"
        "mine = resident_bytes()\n"
        "if os.fork() == 0:\n"
        "    block = b'x' * (64 << 20)\n"
        "    os._exit(resident_bytes() - mine < 32 << 20)\n"
        "print(os.wait()[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"


@pytest.mark.parametrize(("other", "state"), [("while True: pass", "R"), ("time.sleep(60)", "S")])
def test_a_process_is_at_work_while_any_of_its_threads_is(other, state):
    program = (
        "import threading, time\n"
        f"def other():\n    print(flush=True)\n    {other}\n"
        "threading.Thread(target=other, daemon=True).start()\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline()
            end = time.monotonic() + LONG_S
            while activity(process.pid)[0] != state:  # it is on its way there
                assert time.monotonic() < end
                time.sleep(0.01)
        finally:
            process.kill()
