"""What ``to_dist`` takes: ``True``, an endpoint, a dict, or a ``DistConf``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from agentd.errors import ConfigError

if TYPE_CHECKING:
    from agentd.client.retry import Retry

__all__ = ["DistConf", "ToDist", "check_timeout", "options_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DistConf:
    """Where and how an agent is hosted. All have defaults; a wrong one is a ``ConfigError``.

    ``endpoint``: the daemon, such as ``ipc:///run/user/1000/agentd/agentd.sock`` (default: the
    environment's ``AGENTD_ENDPOINT``, else this user's daemon, else an embedded one).
    ``host`` and ``port``: the same for TCP.
    ``name``: unique in its daemon.
    ``lifetime``: ``"client"`` (ends with the process that made it; the default without a name) or
    ``"daemon"`` (until somebody deletes it; the default with a name).
    ``worker``: ``"shared"``, or ``"dedicated"`` for a process of its own.
    ``get_if_exists``: take the agent of that name and class if there is one.
    ``timeout`` (seconds) and ``retry``: for calls that do not say so themselves.
    ``max_concurrency``: how many calls run at once (threads, tasks for ``async def``).
    ``reentrant``: a call that comes back to the agent while it waits runs as part of its turn.
    ``busy``: what a call meets that finds no free turn: ``"queue"``, ``"reject"`` (``Overloaded``)
    or ``"interrupt"`` (the running call is cancelled).
    ``mailbox``: how many calls may wait; more are ``Overloaded``.
    ``ship``: which modules go along: ``True`` for those beside the program that the class's module
    and the program itself import, ``False`` for none, or a list of further modules and packages
    (packages with all their files).
    ``limits``: what its worker may use, which then is its own: ``memory_bytes`` (writable memory,
    8 MiB for each thread included; over it ``MemoryError``), ``cpu_s`` (processor seconds in all;
    over them ``AgentCrashed``), ``files`` (open descriptors).
    """

    endpoint: str | None = None
    host: str | None = None
    port: int | None = None
    name: str | None = None
    lifetime: Literal["client", "daemon"] | None = None
    worker: Literal["shared", "dedicated"] = "shared"
    get_if_exists: bool = False
    timeout: float | None = None
    retry: Retry | None = None
    max_concurrency: int = 1
    reentrant: bool = False
    busy: Literal["queue", "reject", "interrupt"] = "queue"
    mailbox: int = 16_384
    ship: bool | Sequence[str] = True
    limits: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        _require("lifetime", self.lifetime, (None, "client", "daemon"))
        _require("worker", self.worker, ("shared", "dedicated"))
        _require("busy", self.busy, ("queue", "reject", "interrupt"))
        for key in ("max_concurrency", "mailbox"):
            number = getattr(self, key)
            if type(number) is not int or number < 1:
                raise ConfigError(f"to_dist: {key} is a number from 1 on, not {number!r}")
        check_timeout("to_dist", self.timeout)
        if self.limits is not None:
            _check_limits(self.limits)
        ship = self.ship
        if not isinstance(ship, bool) and not (
            isinstance(ship, (list, tuple)) and all(isinstance(n, str) and n for n in ship)
        ):
            raise ConfigError(f"to_dist: ship is True, False or a list of names, not {ship!r}")
        for key in ("endpoint", "host", "name"):
            value = getattr(self, key)
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigError(f"to_dist: {key} is a text, not {value!r}")
        if self.host is not None or self.port is not None:
            if self.endpoint is not None:
                raise ConfigError("to_dist: give endpoint, or host and port, not both")
            if self.host is None or type(self.port) is not int or not 0 < self.port < 65536:
                raise ConfigError("to_dist: host needs a port from 1 to 65535, and port a host")
        if self.get_if_exists and self.name is None:
            raise ConfigError("to_dist: get_if_exists needs a name")

    @property
    def address(self) -> str | None:
        """The endpoint, however it was given."""
        if self.host is not None:
            return f"tcp://{self.host}:{self.port}"
        return self.endpoint

    @property
    def turns(self) -> dict[str, Any]:
        """How its calls take turns and what it may use, as far as that is not the default."""
        mine = {
            "max_concurrency": self.max_concurrency,
            "reentrant": self.reentrant,
            "busy": self.busy,
            "mailbox": self.mailbox,
        }
        turns = {k: v for k, v in mine.items() if v != DEFAULT_TURNS[k]}
        return {**turns, "limits": dict(self.limits)} if self.limits else turns

    @property
    def effective_lifetime(self) -> str:
        """With the default filled in."""
        return self.lifetime or ("client" if self.name is None else "daemon")


DEFAULT_TURNS = {"max_concurrency": 1, "reentrant": False, "busy": "queue", "mailbox": 16_384}

ToDist = bool | str | Mapping[str, Any] | DistConf | None
"""The type of ``to_dist``."""


def options_of(to_dist: Any, **more: Any) -> DistConf:
    """Read what a caller gave (never ``None`` or ``False`` here) without changing it."""
    if to_dist is True:
        conf = DEFAULT
    elif isinstance(to_dist, DistConf):
        conf = to_dist
    elif isinstance(to_dist, str):
        conf = DistConf(endpoint=to_dist)
    elif isinstance(to_dist, Mapping):
        conf = _checked(dict(to_dist))
    else:
        raise ConfigError(
            "to_dist is True, an endpoint, a dict of options or a DistConf, "
            f"not {type(to_dist).__name__}"
        )
    return replace(conf, **_known(more)) if more else conf


def _checked(given: dict[Any, Any]) -> DistConf:
    return DistConf(**_known(given))


def _known(given: dict[Any, Any]) -> dict[str, Any]:
    names = [f.name for f in fields(DistConf)]
    for key in given:
        if key not in names:
            import difflib

            near = difflib.get_close_matches(str(key), names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(names)}"
            raise ConfigError(f"to_dist has no option {key!r}{hint}")
    return given


def check_timeout(where: str, timeout: Any) -> None:
    """Raise ``ConfigError`` for what is neither ``None`` nor a number of seconds above 0."""
    if timeout is not None and not (type(timeout) in (int, float) and timeout > 0):
        raise ConfigError(f"{where}: timeout is in seconds, above 0, not {timeout!r}")


LEAST_LIMITS = {"memory_bytes": 128 * 1024 * 1024, "cpu_s": 1, "files": 64}
"""The daemon's own; a worker needs about a third of it to start."""


def _check_limits(limits: Any) -> None:
    if not isinstance(limits, Mapping):
        raise ConfigError(f"to_dist: limits is a dict, not {type(limits).__name__}")
    for key, value in limits.items():
        if key not in LEAST_LIMITS:
            raise ConfigError(f"to_dist: limits are {', '.join(LEAST_LIMITS)}, not {key!r}")
        if type(value) is not int or value < LEAST_LIMITS[key]:
            raise ConfigError(
                f"to_dist: the limit {key} is a number from {LEAST_LIMITS[key]} on, not {value!r}"
            )


def _require(key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        words = " or ".join(repr(a) for a in allowed if a is not None)
        raise ConfigError(f"to_dist: {key} is {words}, not {value!r}")


DEFAULT = DistConf()
"""What ``True`` means."""
