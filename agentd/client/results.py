"""``AsyncResult``: the value of a call that has not come yet."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any, Generic, TypeVar

from agentd.client.link import LinkDown, Pending
from agentd.client.proxy import RpcObject, decode_value, encode_arguments, session_of, target
from agentd.client.session import MOVES, Session, call_message
from agentd.errors import AgentdError, AgentNotFound, ConnectionLost, ProtocolError
from agentd.protocol.messages import Error, Ready, Result

__all__ = ["AsyncResult", "submit"]

T = TypeVar("T")


class AsyncResult(Future[T], Generic[T]):
    """A future: the whole interface of ``concurrent.futures.Future``, and awaitable.

    Attribute and item access wait for the value and reach into it.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.result(), name)

    def __getitem__(self, key: Any) -> Any:
        value: Any = self.result()
        return value[key]

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    def settle(self, value: Any, error: BaseException | None = None) -> None:
        """Set the outcome, unless the caller has cancelled in the meantime."""
        try:
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(value)
        except InvalidStateError:
            pass


def submit(
    proxy: RpcObject, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncResult[Any]:
    """Call a method of the agent without waiting for its value.

    Raises ``SerializationError`` at once; everything else is the result's.
    """
    encoded = encode_arguments(args, kwargs)
    payload = [encoded.head, *encoded.buffers]
    result: AsyncResult[Any] = AsyncResult()
    _Flow(proxy, name, encoded.codec, payload, result).begin()
    return result


class _Flow:
    """One call on its way, moved along by the answers that come; it never waits for the agent."""

    def __init__(
        self,
        proxy: RpcObject,
        name: str,
        codec: str,
        payload: Sequence[Any],
        result: AsyncResult[Any],
    ) -> None:
        self._proxy = proxy
        self._aim = target(proxy)
        self._session: Session = session_of(self._aim)
        self._name = name
        self._codec = codec
        self._payload = payload
        self._result = result
        self._moves = 0
        self._place: Ready | None = None

    def begin(self) -> None:
        """Find the agent, then send."""
        creation = self._aim.creation
        try:
            if creation is not None:
                link, pending = creation
                link.when_done(pending, self._created)
                return
            place = self._session.known_place(self._aim.agent)
            if place is None:
                self._locate()
            else:
                self._send(place)
        except AgentdError as error:
            self._fail(error)

    def _created(self, pending: Pending) -> None:
        self._guarded(lambda: self._send(self._session.located(pending)))

    def _locate(self) -> None:
        self._session.locate_later(self._aim.agent, self._located)

    def _located(self, pending: Pending) -> None:
        self._guarded(lambda: self._send(self._session.located(pending)))

    def _send(self, place: Ready) -> None:
        self._place = place
        make = partial(call_message, place.agent, place.epoch, "method", self._name, self._codec)
        try:
            self._session.worker(place.address).submit(make, self._payload, self._answered)
        except LinkDown as error:
            self._moved(error)

    def _moved(self, error: AgentdError) -> None:
        assert self._place is not None
        self._session.forget(self._place)
        self._moves += 1
        if self._moves > MOVES:
            self._fail(error)
        else:
            self._locate()

    def _answered(self, pending: Pending) -> None:
        self._guarded(lambda: self._take(pending))

    def _take(self, pending: Pending) -> None:
        place = self._place
        assert place is not None
        try:
            message, payload = pending.outcome()
        except LinkDown as error:
            if error.facts.get("sent"):
                self._session.forget(place)
                self._session.fate_later(place, self._fate)
            else:
                self._moved(error)
            return
        except AgentNotFound as error:
            if not error.facts.get("moved"):
                raise
            self._moved(error)
            return
        if isinstance(message, Error):
            self._result.settle(None, self._session.raised(message, payload))
        elif isinstance(message, Result):
            self._result.settle(decode_value(self._proxy, self._name, message.codec, payload))
        else:
            raise ProtocolError(f"a call was answered with {message.kind!r}")

    def _fate(self, pending: Pending) -> None:
        def tell() -> None:
            pending.outcome()
            raise ConnectionLost("the connection broke during the call")

        self._guarded(tell)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do a step; whatever it raises is the outcome, as nobody else would see it."""
        try:
            step()
        except LinkDown as error:
            self._fail(ConnectionLost(error.message, endpoint=self._session.endpoint))
        except BaseException as error:  # noqa: BLE001 - a value that cannot be decoded, say
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._result.settle(None, error)
