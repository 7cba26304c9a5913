"""What a process knows of itself."""

import resource
import subprocess
import sys

from agentd.transport.process import resident_bytes


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
