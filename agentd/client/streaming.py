"""Reading a stream: item by item, with credit, across lost connections."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Self

from agentd.client import references
from agentd.client.breaks import MOVES, Breaks
from agentd.client.calling import await_ready
from agentd.client.context import current
from agentd.client.farewell import leave
from agentd.client.link import Link
from agentd.client.outgoing import Outgoing
from agentd.client.pending import LinkDown, Pending
from agentd.client.proxy import RpcObject, session_of, target
from agentd.client.session import LATE_S, Session, is_elsewhere
from agentd.errors import (
    AgentdError,
    AgentNotFound,
    CallTimeout,
    ConfigError,
    ConnectionLost,
    DaemonNotFound,
    ProtocolError,
    TooLate,
)
from agentd.protocol.messages import Attach, Credit, Detach, End, Error, Ready

__all__ = ["Stream", "attach"]


class Stream:
    """The items of a generator method, for ``for`` and ``async for``.

    ``id`` and ``offset`` name the place: ``agentd.handle(agent).stream(id, offset)`` reads on from
    there, in this process or another, as far back as the worker keeps items. Leaving early (the
    end of a ``with``, ``close()``, or letting go of it) closes the generator in the agent.
    An exception in the agent arrives after the items before it; a crash raises ``AgentCrashed``.
    """

    def __init__(
        self, proxy: RpcObject, out: Outgoing, *, offset: int | None = None, now: bool = True
    ) -> None:
        self._proxy = proxy
        self._out = out
        self._aim = target(proxy)
        self._session: Session = session_of(self._aim)
        self._guest = self._attached = offset is not None
        self._offset = offset or 0
        self._consumed = 0
        self._pending: Pending | None = None
        self._link: Link | None = None
        self._place: Ready | None = None
        self._lost_at: Ready | None = None
        """Where it was when its connection broke: it goes on there or nowhere."""
        self._breaks = Breaks()
        """How often it broke since the last item."""
        self._over = False
        self._lock = threading.Lock()  # one reader at a time
        if now and not self._attached:
            self._open()

    @property
    def id(self) -> str:
        """Names the stream, for ``handle(agent).stream(id)``."""
        return self._out.key.hex()

    @property
    def offset(self) -> int:
        """The number of the next item; the first is 0."""
        return self._offset

    # -- reading -----------------------------------------------------------------------------------
    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        with self._lock:
            while True:
                found, item = self._take()
                if found:
                    return item
                if self._over:
                    raise StopIteration
                self._wait()

    def _take(self) -> tuple[bool, Any]:
        """The next item, if it is here; notices the end. Does not wait."""
        if self._over:
            return False, None
        if self._pending is None:
            self._open()
        pending = self._pending
        assert pending is not None
        while pending.chunks:
            chunk, payload = pending.chunks.popleft()
            if chunk.items and chunk.offset == self._offset:
                self._offset += 1
                self._breaks = Breaks()
                self._grant()
                head, *buffers = payload
                refs = references.received(direct=self._aim.direct, daemon=self._session.daemon)
                return True, self._session.daemon.reader.decode(chunk.codec, head, buffers, refs)
        if pending.done:
            self._ended(pending)
        return False, None

    def _ended(self, pending: Pending) -> None:
        try:
            message, payload = pending.outcome()
        except LinkDown as error:
            self._lost(error)
            return
        except (AgentNotFound, TooLate) as error:
            if is_elsewhere(error) and not self._offset:
                self._reopen()
                return
            self._over = True
            raise
        except AgentdError:
            self._over = True
            raise
        self._over = True
        if isinstance(message, Error):
            raise self._session.raised(message, payload)
        if not isinstance(message, End):
            raise ProtocolError(f"a stream was answered with {message.kind!r}")

    def _lost(self, error: LinkDown) -> None:
        """The connection broke: go on where the stream was, if its worker still runs."""
        place = self._place
        assert place is not None
        self._session.places.forget(place)
        if not error.facts.get("sent"):
            self._reopen()
            return
        self._lost_at = place
        if not self._breaks.one_more():
            self._over = True
            raise ConnectionLost(error.message, endpoint=self._session.endpoint)
        if self._offset:  # else the call itself may be what was lost: it is sent again
            self._attached = True
        self._reopen()

    def _reopen(self) -> None:
        self._pending = None

    def _open(self) -> None:
        if self._aim.creation is not None:
            await_ready(self._proxy, self._out)
        if self._lost_at is not None:
            time.sleep(self._breaks.pause)
        try:
            self._send()
        except DaemonNotFound as error:
            if self._lost_at is None:
                raise
            self._over = True
            raise ConnectionLost(error.message, endpoint=error.endpoint) from None

    def _send(self) -> None:
        for _ in range(MOVES):
            came = time.monotonic()
            place = self._place = self._session.places.of(self._aim.agent, self._out.deadline)
            if self._lost_at is not None and place.epoch != self._lost_at.epoch:
                self._over = True
                raise self._session.daemon.fate(self._lost_at)
            needs = () if self._attached else self._out.needs
            try:
                link = self._link = self._session.workers.link(place, came, needs)
                self._pending = link.submit(self._message(place, link), self._payload())
            except LinkDown:
                self._session.places.forget(place)
            else:
                self._consumed = 0
                return
        raise AgentNotFound(f"agent {self._aim.cls} cannot be reached", agent=self._aim.agent.hex())

    def _message(self, place: Ready, link: Link) -> Any:
        out = self._out
        if not self._attached:
            again = self._lost_at is not None
            plain = not self._session.daemon.reader.trusted
            return partial(out.message, place.epoch, link.ahead, again=again, plain=plain)
        return lambda n: Attach(n, out.agent, place.epoch, out.key, self._offset, out.credit)

    def _payload(self) -> list[Any]:
        return [] if self._attached else self._out.payload

    def _grant(self) -> None:
        self._consumed += 1
        if self._consumed * 2 >= self._out.credit:
            assert self._link is not None
            assert self._pending is not None
            self._link.tell(Credit(self._pending.id, self._out.agent, self._consumed))
            self._consumed = 0

    def _wait(self) -> None:
        pending, link = self._pending, self._link
        if pending is None:
            return  # opened anew at the next look
        assert link is not None
        deadline = None if self._out.deadline is None else self._out.deadline + LATE_S
        try:
            with self._awaited():
                link.wait(pending, deadline, lambda p: p.done or bool(p.chunks) or self._over)
        except CallTimeout:
            self.close()
            raise self._out.timed_out(self._aim.cls) from None
        except (KeyboardInterrupt, SystemExit):
            self.close()
            raise

    @contextlib.contextmanager
    def _awaited(self) -> Iterator[None]:
        """While an agent's code waits for an item.

        A call that comes back to it through the stream is told (see ``Turns``), and if the code is
        given up meanwhile, so is the stream, which ends the waiting.
        """
        maker, out = current(), self._out
        if maker is None:
            yield
            return
        if not self._guest:  # a guest's leaving ends the stream for nobody, itself included
            maker.adopt(out.key, partial(self._session.cancel, out.agent, out.key), out.needs)
        try:
            with maker.waits(out.key, out.needs):
                yield
        finally:
            maker.disown(out.key)

    # -- asyncio -----------------------------------------------------------------------------------
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        while True:
            # Opening and re-opening may wait for a connection; reading never does.
            if self._pending is None or (self._pending.done and not self._pending.chunks):
                found, item = await asyncio.to_thread(self._take)
            else:
                found, item = self._take()
            if found:
                return item
            if self._over:
                raise StopAsyncIteration
            if self._pending is None:
                continue
            change: asyncio.Future[None] = loop.create_future()
            assert self._link is not None
            self._link.on_change(self._pending, partial(_set_in_loop, loop, change))
            if self._over:  # closed just now, in another thread
                raise StopAsyncIteration
            try:
                with self._awaited():
                    await asyncio.wait_for(change, self._left())
            except TimeoutError:
                self.close()
                raise self._out.timed_out(self._aim.cls) from None
            except asyncio.CancelledError:
                self.close()
                raise

    def _left(self) -> float | None:
        """Seconds until it is given up here, should nobody else say so."""
        deadline = self._out.deadline
        return None if deadline is None else max(0.0, deadline + LATE_S - time.monotonic())

    async def aclose(self) -> None:
        """``close``, for asynchronous code."""
        self.close()

    # -- leaving -----------------------------------------------------------------------------------
    def close(self) -> None:
        """Read no more; the generator in the agent is closed and runs its ``finally``.

        Who waits for an item just now, in another thread or task, finds the stream ended.
        """
        if self._over:
            return
        self._over = True
        if self._pending is not None and self._link is not None:
            self._link.drop(self._pending)
            if self._guest:  # one of several readers ends nobody else's reading
                self._link.tell(Detach(self._pending.id, self._out.agent))
            else:
                self._session.cancel(self._out.agent, self._out.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self.__dict__.get("_over", True) and self._pending is not None:
            guest = self._guest
            leave(partial(_let_go, self._link, self._pending, self._out.agent, guest))
            if not guest:
                leave(partial(self._session.cancel, self._out.agent, self._out.key))

    def __repr__(self) -> str:
        return f"<Stream {self._out.name} of {self._aim.cls} at item {self._offset}>"


def attach(proxy: RpcObject, stream: str, offset: int, credit: int = 64) -> Stream:
    """Read a stream of the agent from an offset on; raises ``ResultExpired`` when it is read."""
    from agentd.client.outgoing import compose

    try:
        key = bytes.fromhex(stream)
    except ValueError:
        raise ConfigError(f"{stream!r} is not the id of a stream") from None
    aim = target(proxy)
    out = compose(session_of(aim).prefix, aim.agent, "stream", "stream", credit=credit)
    out = out._replace(key=key)
    return Stream(proxy, out, offset=offset)


def _set_in_loop(loop: Any, change: Any) -> None:
    def set_it() -> None:
        if not change.done():
            change.set_result(None)

    with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
        loop.call_soon_threadsafe(set_it)


def _let_go(link: Link | None, pending: Pending, agent: bytes, guest: bool) -> None:  # noqa: FBT001
    if link is not None:
        link.drop(pending)
        if guest:
            link.tell(Detach(pending.id, agent))
