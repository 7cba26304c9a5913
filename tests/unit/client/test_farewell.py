"""What collected objects have to say, said within a call that is cancelled just then."""

from contextvars import Context

import pytest

from agentd.client.context import CurrentCall, running
from agentd.client.farewell import leave, say_all
from agentd.errors import CallCancelled
from agentd.worker.interrupt import Interruptible
from tests.unit.client.fakes import AGENT


def test_a_cancelled_call_says_all_and_is_cancelled_then():
    said = []
    call = CurrentCall(AGENT, 1)
    work = call.guard = Interruptible()

    def first():
        work.stop()
        said.append(1)

    def code():
        running.set(call)
        leave(first)
        leave(lambda: said.append(2))
        say_all()
        said.append("went on")

    with pytest.raises(CallCancelled):
        work.run(Context().run, code)
    assert said == [1, 2]
