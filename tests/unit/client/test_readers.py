"""Who waits for a connection, when ctrl-C comes: its lock is held by nobody else's mistake."""

import threading

import pytest

from agentd.client.readers import Readers, Waiter


class Struck:
    """A lock; ctrl-C comes right after a call of it, as Python looks for signals there."""

    def __init__(self):
        self._lock = threading.Lock()
        self.after = ""

    def acquire(self):
        self._lock.acquire()
        self._strike("acquire")

    def release(self):
        self._lock.release()
        self._strike("release")

    def _strike(self, what):
        if what == self.after:
            self.after = ""
            raise KeyboardInterrupt

    @property
    def held(self):
        return self._lock.locked()


@pytest.fixture
def lock():
    return Struck()


@pytest.fixture
def readers(lock):
    return Readers([], lock)


@pytest.mark.parametrize("after", ["release", "acquire"])
@pytest.mark.parametrize("wait", [Readers.lead, Readers.follow], ids=["leads", "follows"])
def test_ctrl_c_leaves_the_lock_to_who_waits_and_nobody_as_the_leader(readers, lock, wait, after):
    lock.acquire()
    lock.after = after
    with pytest.raises(KeyboardInterrupt):
        wait(readers, Waiter(readers, fresh=False), 0.0)
    assert lock.held
    assert readers.leader is None
