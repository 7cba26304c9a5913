"""Tell what the agent's code raised from what went wrong on the way to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agentd_cli.exits import RemoteRaised

__all__ = ["agents_code"]


@contextmanager
def agents_code() -> Iterator[None]:
    """Around a call: an exception of the agent, of any type, becomes ``RemoteRaised``.

    Errors of agentd pass. Without this a ``TypeError`` of the agent and one of agentctl itself
    would look the same.
    """
    from agentd.errors import AgentdError

    try:
        yield
    except AgentdError:
        raise
    except Exception as error:
        raise RemoteRaised from error
