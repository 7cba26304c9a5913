"""State in step: an agent's attributes with their versions, read, watched and set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from agentd.client.calling import operate
from agentd.client.outgoing import compose
from agentd.client.proxy import RpcObject, session_of, target
from agentd.client.streaming import Stream

if TYPE_CHECKING:
    from agentd.client.pending import LinkDown

__all__ = ["Seen", "Watch", "fetch", "look", "put", "watch"]


class Seen(NamedTuple):
    """A value and its version; a later version is a greater number, until the agent restarts."""

    value: Any
    version: int


class Watch(Stream):
    """The values of an attribute, as ``Seen``, beginning with the present one.

    For ``for`` and ``async for``. A slow reader misses values in between, never the newest for
    good: one value is on its way at a time, and the next one is what is newest then. It goes on
    after a lost connection, and after a restart of the agent with its new state.
    """

    def _take(self) -> tuple[bool, Any]:
        found, item = super()._take()
        return found, Seen(*item) if found else None

    def _lost(self, error: LinkDown) -> None:
        if self._place is not None:
            self._session.places.forget(self._place)
        self._offset = 0
        self._reopen()


def watch(proxy: RpcObject, name: str) -> Watch:
    """Watch an attribute."""
    aim = target(proxy)
    out = compose(session_of(aim).prefix, aim.agent, "watch", name, credit=1)
    return Watch(proxy, out, now=False)


def look(proxy: RpcObject, name: str) -> Seen:
    """The attribute and its version."""
    return Seen(*operate(proxy, "look", name))


def put(proxy: RpcObject, name: str, value: Any, expect: int | None) -> int:
    """Set the attribute, if its version is the expected one; the new version."""
    version: int = operate(proxy, "put", name, (value, expect))
    return version


def fetch(proxy: RpcObject) -> Any:
    """A local copy of the agent's object."""
    return operate(proxy, "copy", "")
