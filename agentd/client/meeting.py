"""Meeting a peer: a connection that has said hello, made again while there is time for it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentd.client.breaks import backoff
from agentd.client.link import Link
from agentd.client.pending import LinkDown
from agentd.errors import AgentdError, ConnectionLost
from agentd.protocol import PROTOCOL, local_versions
from agentd.protocol.messages import Hello
from agentd.transport.process import host_identity, process_start

if TYPE_CHECKING:
    from agentd.client.runtime import Runtime

__all__ = ["Meetings"]

SHARED_S = 1.0
"""For so long a peer that could not be met is not tried again for those who waited meanwhile."""


class Meetings:
    """Those with one daemon and its workers. Each peer is met by one thread at a time."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float]) -> None:
        self._runtime = runtime
        self._clock = clock
        self._refused: dict[str, tuple[float, AgentdError]] = {}
        """By endpoint: when and why nobody could be met there."""

    def once(self, endpoint: str, came: float, meet: Callable[[], Link]) -> Link:
        """Meet the peer. Who waited for somebody else to do so, and ``came`` before, fails too."""
        at, refusal = self._refused.get(endpoint, (0.0, None))
        # Only just now: who has waited for long for something else finds out anew.
        if refusal is not None and at >= came and time.monotonic() - at < SHARED_S:
            raise type(refusal)(refusal.message, **refusal.facts)
        try:
            link = meet()
        except AgentdError as error:
            self._refused[endpoint] = time.monotonic(), error
            raise
        self._refused.pop(endpoint, None)
        return link

    def refused(self, endpoint: str) -> float:
        """When nobody could be met there; 0 if the last one was."""
        return self._refused.get(endpoint, (0.0, None))[0]

    def open(self, endpoint: str, dial: Callable[[float], Any], timeout: float) -> Link:
        """A connection that breaks meanwhile is made again, within the time."""
        deadline = time.monotonic() + timeout
        for attempt in itertools.count():
            try:
                port = dial(max(0.0, deadline - time.monotonic()))
                pump = self._runtime.pump
                link = Link(
                    port, endpoint, pump.arm, self._clock, watch=pump.watch, rouse=pump.rouse
                )
                link.open(self._hello, max(0.0, deadline - time.monotonic()))
            except LinkDown as error:
                pause = backoff(attempt)
                if time.monotonic() + pause > deadline:
                    raise ConnectionLost(error.message, endpoint=endpoint) from None
                time.sleep(pause)
            else:
                break
        return link

    def _hello(self, number: int) -> Hello:
        mine = local_versions()
        return Hello(
            number,
            PROTOCOL,
            mine.agentd,
            mine.python,
            self._runtime.session,
            os.getpid(),
            host_identity(),
            process_start(os.getpid()),
            mine.dill,
        )
