"""A call before it is sent: what is to be done, by when, on whose behalf."""

from __future__ import annotations

import itertools
import time
from typing import Any, NamedTuple

from agentd.client.context import CurrentCall, current
from agentd.client.farewell import say_all
from agentd.errors import CallTimeout
from agentd.protocol.messages import Call

__all__ = ["Outgoing", "compose"]

_NONE: list[Any] = []
_numbers = itertools.count(1)


class Outgoing(NamedTuple):
    """One call, whatever way it goes. Its ``key`` stays the same when it is sent again."""

    agent: bytes
    op: str
    name: str
    codec: str
    payload: list[Any]
    needs: list[Any]
    key: bytes
    deadline: float | None
    """Monotonic seconds."""
    timeout: float | None
    """What the caller said, for the error's sentence."""
    chain: list[Any]
    trace: bytes
    maker: CurrentCall | None
    hold: bool = False
    oneway: bool = False
    credit: int = 0
    lazy: bool = False

    def message(
        self, epoch: int, ahead: float, number: int, *, again: bool = False, plain: bool = False
    ) -> Call:
        """As it is sent now, to one whose clock is ``ahead``.

        ``again``: over another connection, as the first one broke. ``plain``: the answer is to be
        plain data.
        """
        now = time.monotonic()
        left = None if self.deadline is None else max(0.0, self.deadline - now)
        return Call(
            number,
            self.agent,
            epoch,
            self.op,
            self.name,
            self.codec,
            self.key,
            left,
            self.hold,
            self.oneway,
            self.credit,
            self.needs,
            self.chain,
            again,
            self.trace,
            self.lazy,
            now + ahead,
            "",
            plain,
        )

    def freeze(self) -> None:
        """It is sent later: what its caller may change until then is taken as it is now."""
        for number, frame in enumerate(self.payload):
            if type(frame) is not bytes and not memoryview(frame).readonly:
                # Not as bytes: what was changeable here is changeable there.
                self.payload[number] = memoryview(bytes(frame))

    def timed_out(self, label: str) -> CallTimeout:
        """The error, should nobody else tell it."""
        limit = "its deadline" if self.timeout is None else f"{self.timeout:g} s"
        return CallTimeout(
            f"{label}.{self.name} was not done within {limit}",
            agent=self.agent.hex(),
            method=self.name,
            timeout=self.timeout,
        )


def compose(
    prefix: bytes,
    agent: bytes,
    op: str,
    name: str,
    codec: str = "",
    payload: list[Any] = _NONE,
    needs: list[Any] = _NONE,
    *,
    timeout: float | None = None,
    hold: bool = False,
    oneway: bool = False,
    credit: int = 0,
    lazy: bool = False,
) -> Outgoing:
    """Complete a call with what it inherits from the call in whose code it is made.

    ``prefix``: of the keys of this process. It is random and the number never repeats: a key is
    unique for ever.
    """
    say_all()
    maker = current()
    key = prefix + next(_numbers).to_bytes(8, "little")
    deadline = None if timeout is None else time.monotonic() + timeout
    chain: list[Any] = _NONE
    trace = b""
    if maker is not None:
        chain = [*maker.chain, (maker.agent, key)]
        trace = maker.trace
        if maker.deadline is not None and not oneway:
            deadline = maker.deadline if deadline is None else min(deadline, maker.deadline)
    return Outgoing(
        agent,
        op,
        name,
        codec,
        payload,
        needs,
        key,
        deadline,
        timeout,
        chain,
        trace,
        maker,
        hold,
        oneway,
        credit,
        lazy,
    )
