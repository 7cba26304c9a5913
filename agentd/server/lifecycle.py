"""The life of a hosted agent, as a table (after h11's ``_state.py``).

An event that is not in the table for a state is an ``IllegalTransition`` and changes nothing.
"Busy" is not a state: it is the depth of the agent's mailbox in its worker.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["ENDED_STATES", "TRANSITIONS", "Event", "IllegalTransition", "State", "after"]


class State(Enum):
    """Where an agent is in its life."""

    REQUESTED = "requested"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    ENDED = "ended"

    __hash__ = object.__hash__  # there is one of each; that of ``Enum`` costs a call in Python


class Event(Enum):
    """What can happen to it."""

    WORKER_ASSIGNED = "worker assigned"
    STARTED = "started"
    START_FAILED = "start failed"
    WORKER_LOST = "worker lost"
    BUDGET_SPENT = "budget spent"
    STOP_REQUESTED = "stop requested"
    STOPPED = "stopped"

    __hash__ = object.__hash__  # as above


class IllegalTransition(Exception):
    """The event cannot happen in that state: a defect of the daemon, not of a peer."""


_S, _E = State, Event

TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (_S.REQUESTED, _E.WORKER_ASSIGNED): _S.STARTING,
    (_S.REQUESTED, _E.STOP_REQUESTED): _S.ENDED,
    (_S.STARTING, _E.STARTED): _S.READY,
    (_S.STARTING, _E.START_FAILED): _S.ENDED,
    (_S.STARTING, _E.WORKER_LOST): _S.RESTARTING,
    (_S.STARTING, _E.STOP_REQUESTED): _S.STOPPING,
    (_S.READY, _E.WORKER_LOST): _S.RESTARTING,
    (_S.READY, _E.STOP_REQUESTED): _S.STOPPING,
    (_S.RESTARTING, _E.WORKER_ASSIGNED): _S.STARTING,
    (_S.RESTARTING, _E.BUDGET_SPENT): _S.ENDED,
    (_S.RESTARTING, _E.STOP_REQUESTED): _S.ENDED,
    # A stop may meet a start on its way: the worker's answer comes all the same and is ignored.
    (_S.STOPPING, _E.STARTED): _S.STOPPING,
    (_S.STOPPING, _E.START_FAILED): _S.STOPPING,
    (_S.STOPPING, _E.STOPPED): _S.ENDED,
    (_S.STOPPING, _E.WORKER_LOST): _S.ENDED,
    (_S.STOPPING, _E.STOP_REQUESTED): _S.STOPPING,
}

ENDED_STATES: Final = frozenset({State.ENDED})


def after(state: State, event: Event) -> State:
    """The state that follows; raises ``IllegalTransition``."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event.value!r} in state {state.value!r}") from None
