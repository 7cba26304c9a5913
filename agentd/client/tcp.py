"""The way to a daemon on another host: TCP, encrypted, to a server whose key is known.

Apart from the other ways (``ways``), as it needs keys and what reads them, which most programs
never do.
"""

from __future__ import annotations

import time
from typing import Any, Final

from agentd.client.pending import LinkDown, no_answer
from agentd.errors import AgentdError, AuthenticationFailed, ConfigError, DaemonNotFound
from agentd.keys import config_folder, load_pair, pin_for
from agentd.protocol.messages import Ready
from agentd.transport.curve import CurvePort, Keys
from agentd.transport.endpoint import TcpEndpoint, parse_tcp

__all__ = ["TcpWay", "dial_door", "dial_tcp"]

LOOK_S: Final = 0.25
"""How often somebody who waits for a connection looks whether there is still a listener."""


class TcpWay:
    """See ``ways.Way``."""

    local = False

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        parse_tcp(endpoint)
        _keys(endpoint)  # without them there is no use in beginning

    def is_listening(self) -> bool:
        """See ``ways.Way``."""
        return True  # to look is to connect

    def nobody(self) -> str:
        """See ``ways.Way``."""
        return f"no daemon answers at {self._endpoint}"

    def is_trusted(self) -> bool:
        """See ``ways.Way``."""
        return pin_for(config_folder(), self._endpoint).code


def _keys(endpoint: str) -> Keys:
    """Read each time: they may have been changed since."""
    folder = config_folder()
    pair = load_pair(folder, "client")
    return Keys(pair.public, pair.secret, pin_for(folder, endpoint).key)


def dial_tcp(context: Any, endpoint: str, timeout: float) -> CurvePort:
    """A connection to a daemon elsewhere, made within the time.

    Raises ``DaemonNotFound``, ``AuthenticationFailed``, ``ConfigError``; ``LinkDown`` if it broke
    at once.
    """
    deadline = time.monotonic() + timeout
    keys = _keys(endpoint)
    try:
        addresses = parse_tcp(endpoint).addresses()
    except ConfigError as error:
        raise DaemonNotFound(error.message, endpoint=endpoint) from None
    failure: AgentdError = no_answer(endpoint)
    for address in addresses:  # a name may stand for several, of which one answers
        port = CurvePort(context, str(address), keys, endpoint)
        found = _wait(port, endpoint, deadline)
        if found is None:
            return port
        port.close()
        failure = found
        if isinstance(failure, AuthenticationFailed):
            break
    raise failure


def dial_door(context: Any, daemon: str, reached: str, place: Ready, timeout: float) -> CurvePort:
    """A connection to a worker of the daemon that was reached at that address; else as above.

    Its key is that which the daemon told.
    """
    keys = _keys(daemon)._replace(server=place.key)
    address = TcpEndpoint(parse_tcp(reached).host, place.port)
    name = f"worker {place.worker} of {daemon}, at {address},"
    port = CurvePort(context, str(address), keys, name)
    failure = _wait(port, name, time.monotonic() + timeout)
    if failure is not None:
        port.close()
        raise failure
    return port


def _wait(port: CurvePort, endpoint: str, deadline: float) -> AgentdError | None:
    """Wait until it is connected; why it is not."""
    while not port.wait_connected(min(LOOK_S, max(0.0, deadline - time.monotonic()))):
        if port.has_broken():
            broke = LinkDown(f"the connection to {endpoint} broke", endpoint=endpoint)
            return port.why() or broke
        if time.monotonic() >= deadline:
            return no_answer(endpoint)
    return None
