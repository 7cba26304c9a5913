"""The daemon's settings: one frozen value, built once by ``load`` and passed down.

Where a setting comes from, the first that has it wins::

    flag  >  environment (AGENTD_<KEY>)  >  TOML file  >  default

An unknown key is an error that names the nearest right one: a misspelt limit must not pass
unseen. An empty environment variable counts as not set. Lists are written comma separated in
``AGENTD_BIND`` and like ``PATH`` in ``AGENTD_PATH``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final, TypeVar

from agentd.errors import ConfigError

__all__ = ["OTHER_VARIABLES", "ServerConfig", "Setting", "describe", "load"]

_T = TypeVar("_T")
_PREFIX: Final = "AGENTD_"

OTHER_VARIABLES: Final[Mapping[str, str]] = {
    "AGENTD_ENDPOINT": "the daemon that clients and agentctl use",
}
"""Variables named ``AGENTD_*`` that are not settings of the daemon, which leaves them alone."""

_LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_LOG_FORMATS: Final = ("text", "json")
_MIB: Final = 1024 * 1024


class Table(dict[str, str]):
    """A table of text in the settings; nobody changes it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


_NOTHING: Final = Table()
_SOURCE: Final = re.compile(r"env:[A-Za-z_]\w*|file:/[^\0]+|keyring:[^\0/]+/[^\0]+")
_SECRET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def _setting(
    default: _T,
    why: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> _T:
    """Declare a field with its reason and its limits (``above`` itself is not allowed)."""
    limits = {"low": low, "above": above, "high": high, "choices": choices}
    declared: _T = field(default=default, metadata={"why": why, **limits})
    return declared


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """All settings of one daemon. One that exists is valid: building it checks every field."""

    bind: tuple[str, ...] = _setting(
        (),
        "Endpoints to listen on: ipc:///absolute/path, tcp://HOST:PORT (only with keys, see "
        "docs/security.md); without one of ipc also agentd.sock in the run folder.",
    )
    workers: int = _setting(
        0,
        "Worker processes that host the agents; 0: one per core, since each has its own GIL.",
        low=0,
        high=1024,
    )
    path: tuple[str, ...] = _setting(
        (),
        "Folders that workers can import from, before their own sys.path.",
    )
    safe: bool = _setting(
        False,  # noqa: FBT003 - the default of a setting
        "Safe mode: no pickle anywhere, only plain data, and only agents that are registered. "
        "Recommended wherever others than you have access.",
    )
    specs: Table = _setting(  # noqa: RUF009 - as the others; it is told by the type
        _NOTHING,
        "Registered agents, which may be made without sending code: package.module:Class, by name. "
        "Installed packages add theirs by the entry point group agentd.agents.",
    )
    run_dir: str = _setting(
        "",
        "Private folder (mode 0700) for sockets and the lock; empty: this user's runtime folder.",
    )
    config_dir: str = _setting(
        "",
        "Folder of keys and grants; empty: agentd below $XDG_CONFIG_HOME or ~/.config.",
    )
    log_level: str = _setting(
        "info",
        "Least level that is logged: info is one line per lifecycle change, debug adds details.",
        choices=_LOG_LEVELS,
    )
    log_format: str = _setting(
        "text",
        "text for people, json (one object a line) for log collectors.",
        choices=_LOG_FORMATS,
    )
    shutdown_grace_s: float = _setting(
        25.0,
        "Time for open calls after SIGTERM; Kubernetes sends SIGKILL after 30 s, 5 s stay spare.",
        low=0,
        high=86_400,
    )
    client_grace_s: float = _setting(
        15.0,
        "Silence after which a client is gone and its agents end: 15 heartbeats, so a pause of "
        "its garbage collector or a short suspend costs nothing.",
        above=0,
        high=86_400,
    )
    heartbeat_s: float = _setting(
        1.0,
        "Time between two signs of life; a peer counts as lost after 3, so in about 3 s.",
        low=0.05,
        high=60,
    )
    restart_limit: int = _setting(
        5,
        "Restarts that an agent may use up within restart_window_s before it is given up, counted "
        "as in Erlang's restart intensity (1 in 5 s there; systemd allows 5 in 10 s).",
        low=0,
        high=1_000_000,
    )
    restart_window_s: float = _setting(
        60.0,
        "The window of restart_limit: catches a crash that needs 10 s of work to come back.",
        above=0,
        high=86_400,
    )
    worker_backoff_s: float = _setting(
        0.1,
        "Wait before a worker that died is replaced, doubled each time; one crash is not noticed.",
        above=0,
        high=3_600,
    )
    worker_backoff_max_s: float = _setting(
        30.0,
        "The longest such wait: a machine out of memory gets rest, a repaired one is soon back.",
        above=0,
        high=86_400,
    )
    log_lines: int = _setting(
        1_000,
        "Lines of stdout and stderr kept per agent, the oldest go first: about 100 KB each.",
        low=0,
        high=1_000_000,
    )
    tombstones: int = _setting(
        10_000,
        "Ended agents remembered, to say when and why they ended: a few MB at most.",
        low=0,
        high=10_000_000,
    )
    max_message_bytes: int = _setting(
        512 * _MIB,
        "The largest message, all its frames together; PayloadTooLarge above. As large as that "
        "since an array of 256 MiB is a legitimate argument of a call that the daemon relays.",
        low=_MIB,
        high=2**40,
    )
    max_header_bytes: int = _setting(
        65_536,
        "The largest header that clients may send. It can only be made smaller: nginx allows 8 "
        "KiB, node 16 KiB, ours also lists the results that a call needs.",
        low=4_096,
        high=65_536,
    )
    max_frames: int = _setting(
        1_026,
        "Frames of a message of clients: header, head, and 1,024 buffers of arrays.",
        low=8,
        high=1_026,
    )
    max_header_depth: int = _setting(
        32,
        "How deep lists and maps in a header of clients may be nested.",
        low=8,
        high=32,
    )
    max_header_items: int = _setting(
        10_000,
        "Items in a header of clients, all lists and maps together; and none becomes more than 4 "
        "times max_header_bytes in memory.",
        low=100,
        high=10_000,
    )
    max_malformed: int = _setting(
        20,
        "Messages that are none, until the process or key that sends them is disconnected and not "
        "listened to for a second; a relapse doubles that, up to a minute. No program sends any by "
        "accident. 0: all are answered.",
        low=0,
        high=1_000_000,
    )
    client_calls: int = _setting(
        16_384,
        "Questions of one client that are open in the daemon: relayed calls, creations, searches. "
        "As many as wait for one agent at most; one client alone does not fill daemon_calls.",
        low=1,
        high=10_000_000,
    )
    client_bytes: int = _setting(
        512 * _MIB,
        "Bytes of one client's open questions; not less than max_message_bytes, or the largest "
        "would never be taken.",
        low=_MIB,
        high=2**40,
    )
    agent_calls: int = _setting(
        16_384,
        "Relayed calls that are open for one agent, of all clients.",
        low=1,
        high=10_000_000,
    )
    agent_bytes: int = _setting(
        512 * _MIB,
        "Bytes of the relayed calls that are open for one agent.",
        low=_MIB,
        high=2**40,
    )
    daemon_calls: int = _setting(
        65_536,
        "Open questions of all clients: about 1 KB each beside their payloads.",
        low=1,
        high=100_000_000,
    )
    daemon_bytes: int = _setting(
        1_024 * _MIB,
        "Bytes of all open questions: two of the largest messages at once.",
        low=_MIB,
        high=2**40,
    )
    max_agents: int = _setting(
        10_000,
        "Agents at a time: the daemon keeps what each was made from, to start it again.",
        low=1,
        high=10_000_000,
    )
    max_queued_bytes: int = _setting(
        512 * _MIB,
        "Answers that wait for one client that has not read the ones before; it is disconnected "
        "when there are more.",
        low=_MIB,
        high=2**40,
    )
    kept_bytes: int = _setting(
        256 * _MIB,
        "Memory that each worker keeps for large values, for seconds: so much shared memory to "
        "send them by, and as much of what it received. Programs that call agents read "
        "AGENTD_KEPT_BYTES, for their embedded daemon, too. 0: none, and no shared memory.",
        low=0,
        high=2**40,
    )
    max_connections: int = _setting(
        4_096,
        "Connections of clients at a time, and no more than 80 % of the open files that the system "
        "allows; a further one is closed at once.",
        low=1,
        high=1_000_000,
    )
    handshake_s: float = _setting(
        2.0,
        "Time a connection may take to say what it speaks; libzmq's own default is 30 s.",
        low=0.1,
        high=60,
    )
    max_memory_bytes: int = _setting(
        2_048 * _MIB,
        "Memory of the daemon's process (resident); above it the client that sends most without "
        "finishing a message is disconnected. daemon_bytes, and as much for what waits for "
        "clients. 0: not watched.",
        low=0,
        high=2**44,
    )

    secrets: Table = _setting(  # noqa: RUF009 - as the others; it is told by the type
        _NOTHING,
        "Values that agents get as agentd.Secret(NAME), by name: env:VARIABLE, file:/path or "
        "keyring:SERVICE/USER. Values themselves do not belong in this file.",
    )
    worker_user: str = _setting(
        "",
        "User (name, or number as text) whom the workers run as, not root; the daemon has to be "
        "started as root, or with CAP_SETUID, CAP_SETGID and CAP_KILL. Empty: the daemon's own "
        "user. See docs/security.md.",
    )
    worker_env: tuple[str, ...] = _setting(
        (),
        "Variables that workers get in safe mode, or with worker_user, beside PATH, HOME, the "
        "locale and the like; * stands for any characters. Else they get all that the daemon has.",
    )
    worker_memory_bytes: int = _setting(
        0,
        "Writable memory of a worker, from 128 MiB on, beyond which its agents get MemoryError; "
        "0: no limit, as only you know how large your models are.",
        low=0,
        high=1 << 60,
    )
    worker_files: int = _setting(
        0,
        "Open descriptors of a worker, from 64 on; 0: as many as the system allows, up to 65,536.",
        low=0,
        high=1_000_000,
    )
    audit_file: str = _setting(
        "",
        "Where it is written down who created, ended, stopped and got access to what; off: "
        "nowhere; empty: audit.jsonl in this user's state folder (audit-NAME.jsonl for a daemon "
        "with a socket of another name) if others can come in, else nowhere.",
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work; the source is named as the constructor."""
        for name in ("secrets", "specs"):  # any dict, as JSON and people write it
            if isinstance(getattr(self, name), dict):
                object.__setattr__(self, name, Table(getattr(self, name)))
        for each in fields(self):
            _check(each, getattr(self, each.name), "ServerConfig")
        if self.client_grace_s <= self.heartbeat_s:
            raise ConfigError(
                f"client_grace_s = {self.client_grace_s} must be longer than heartbeat_s = "
                f"{self.heartbeat_s}, or living clients lose their agents",
                key="client_grace_s",
            )
        for key, least in (("worker_memory_bytes", 128 << 20), ("worker_files", 64)):
            if 0 < getattr(self, key) < least:
                raise ConfigError(
                    f"{key} = {getattr(self, key)} is too little for a worker to start; the least "
                    f"is {least}, and 0 is no limit",
                    key=key,
                )
        if self.worker_backoff_max_s < self.worker_backoff_s:
            raise ConfigError(
                f"worker_backoff_max_s = {self.worker_backoff_max_s} must be at least "
                f"worker_backoff_s = {self.worker_backoff_s}",
                key="worker_backoff_max_s",
            )
        self._check_budgets()

    def _check_budgets(self) -> None:
        """The largest message fits every budget, else it could be sent but never taken."""
        for key in ("client_bytes", "agent_bytes", "daemon_bytes"):
            if getattr(self, key) < self.max_message_bytes:
                raise ConfigError(
                    f"{key} = {getattr(self, key):,} must be at least max_message_bytes = "
                    f"{self.max_message_bytes:,}, or a message of that size is never taken",
                    key=key,
                )


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as told to people. ``default`` is written as in TOML."""

    key: str
    type: str
    default: str
    variable: str
    why: str


def describe() -> tuple[Setting, ...]:
    """Tell all settings, in the order in which the documentation shows them."""
    return tuple(
        Setting(f.name, _TYPE_NAMES[_kind(f)], _as_toml(f.default), _variable(f), f.metadata["why"])
        for f in fields(ServerConfig)
    )


def load(
    file: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> ServerConfig:
    """Build the settings from a TOML file, the environment (default: this process's) and flags.

    A flag that is ``None`` or an empty tuple was not given. Folders become absolute; relative ones
    in a file count from that file's folder. Raises ``ConfigError``, which names source, key, value
    and what is expected.
    """
    found: dict[str, Any] = {}
    if file is not None:
        found.update(_from_file(os.fspath(file)))
    found.update(_from_env(os.environ if env is None else env))
    found.update(_from_flags(flags or {}))
    return ServerConfig(**found)


# -- sources ---------------------------------------------------------------------------------------


def _from_file(file: str) -> dict[str, Any]:
    import tomllib  # only daemons with a file pay for the parser

    try:
        with open(file, encoding="utf-8") as opened:
            table = tomllib.loads(opened.read())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}", source=file) from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{file}: not a TOML file: {error}", source=file) from error
    found = {}
    for key, value in table.items():
        setting = _known(key, file)
        found[key] = _check(setting, _normal(setting, value), file, shown=value)
    return _anchored(found, os.path.dirname(file))


def _anchored(found: dict[str, Any], folder: str = "") -> dict[str, Any]:
    """Make folders absolute: workers need not run where the daemon was started."""

    def absolute(value: str) -> str:
        return os.path.abspath(os.path.join(folder, os.path.expanduser(value)))

    if "path" in found:
        found["path"] = tuple(map(absolute, found["path"]))
    for key in ("run_dir", "config_dir"):
        if found.get(key):
            found[key] = absolute(found[key])
    if found.get("audit_file", "off") not in ("off", ""):
        found["audit_file"] = absolute(found["audit_file"])
    return found


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    by_variable = {_variable(f): f for f in fields(ServerConfig)}
    found = {}
    for variable, text in env.items():
        if not variable.startswith(_PREFIX) or variable in OTHER_VARIABLES or not text:
            continue
        if variable not in by_variable:
            raise _unknown(variable, "environment", [*by_variable, *OTHER_VARIABLES])
        setting = by_variable[variable]
        parsed = _normal(setting, _READERS[_kind(setting)](setting.name, text))
        found[setting.name] = _check(setting, parsed, "environment", name=variable, shown=text)
    return _anchored(found)


def _from_flags(flags: Mapping[str, object]) -> dict[str, Any]:
    found = {}
    for key, value in flags.items():
        if value is None or value == ():
            continue
        setting = _known(key, "flag")
        option = "--" + key.replace("_", "-")
        found[key] = _check(setting, _normal(setting, value), "flag", name=option, shown=value)
    return _anchored(found)


# -- keys ------------------------------------------------------------------------------------------


def _variable(setting: Field[Any]) -> str:
    return _PREFIX + setting.name.upper()


def _known(key: str, source: str) -> Field[Any]:
    by_name = {f.name: f for f in fields(ServerConfig)}
    if key not in by_name:
        raise _unknown(key, source, list(by_name))
    return by_name[key]


def _unknown(key: str, source: str, right: list[str]) -> ConfigError:
    from difflib import get_close_matches  # only on the way to an error

    near = get_close_matches(key, right, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(right))}"
    return ConfigError(f"{source}: unknown setting {key}; {hint}", source=source, key=key)


# -- values ----------------------------------------------------------------------------------------


def _kind(setting: Field[Any]) -> type:
    return type(setting.default)


def _read_list(key: str, text: str) -> tuple[str, ...]:
    separator = os.pathsep if key == "path" else ","
    return tuple(item.strip() for item in text.split(separator) if item.strip())


def _read_number(kind: Callable[[str], object]) -> Callable[[str, str], object]:
    def read(_key: str, text: str) -> object:
        try:
            return kind(text)
        except ValueError:
            return text  # of the wrong type, which the check tells in its words

    return read


def _read_table(_key: str, text: str) -> object:
    pairs = [item.partition("=") for item in text.split(",") if item.strip()]
    if not all(equals for _name, equals, _value in pairs):
        return text  # of the wrong type
    return {name.strip(): value.strip() for name, _, value in pairs}


_BOOLS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

_READERS: Final[Mapping[type, Callable[[str, str], object]]] = {
    tuple: _read_list,
    Table: _read_table,
    bool: lambda _key, text: _BOOLS.get(text.lower(), text),
    int: _read_number(int),
    float: _read_number(float),
    str: lambda _key, text: text,
}
_TYPE_NAMES: Final[Mapping[type, str]] = {
    tuple: "list of text",
    bool: "true or false",
    Table: "table of text",
    int: "whole number",
    float: "seconds",
    str: "text",
}


def _normal(setting: Field[Any], value: Any) -> Any:
    """Take what people write for what is meant: a list, a whole number of seconds, INFO."""
    kind = _kind(setting)
    if setting.metadata["choices"] and isinstance(value, str):
        return value.lower()
    if kind is Table and isinstance(value, dict):
        return Table(value)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    return value


def _check(
    setting: Field[Any],
    value: Any,
    source: str,
    *,
    name: str | None = None,
    shown: object = MISSING,
) -> Any:
    """Return the value if the setting may have it, else raise ``ConfigError``."""
    wrong = _what_is_wrong(setting, value)
    if wrong is None:
        return value
    shown = value if shown is MISSING else shown
    if setting.name == "secrets":
        shown = "…"  # somebody may have written the secret itself
    if isinstance(shown, (list, tuple)) and all(isinstance(item, str) for item in shown):
        shown = ", ".join(shown)  # as people write it
    raise ConfigError(
        f"{source}: {name or setting.name} = {shown!r}: {wrong}",
        source=source,
        key=setting.name,
        value=shown,
        expected=wrong,
    )


def _what_is_wrong(setting: Field[Any], value: Any) -> str | None:
    kind = _kind(setting)
    if kind is Table:
        return _wrong_specs(value) if setting.name == "specs" else _wrong_secrets(value)
    if kind is tuple:
        if not isinstance(value, tuple) or not all(isinstance(v, str) and v for v in value):
            return "expected a list of text"
        return _wrong_endpoint(value) if setting.name == "bind" else None
    if kind is bool:
        return None if type(value) is bool else "expected true or false"
    choices: tuple[str, ...] = setting.metadata["choices"]
    if choices:
        return None if value in choices else f"expected one of {', '.join(choices)}"
    if kind is str:
        return None if isinstance(value, str) else "expected text"
    whole_for_seconds = kind is float and type(value) is int
    if (type(value) is kind or whole_for_seconds) and _within(setting, value):
        return None
    what = "a whole number" if kind is int else "seconds"
    return f"expected {what}{_range_text(setting)}"


def _wrong_secrets(value: Any) -> str | None:
    if not isinstance(value, Table):
        return 'expected a table like { openai = "env:OPENAI_API_KEY" }'
    for name, source in value.items():
        if not _SECRET_NAME.fullmatch(str(name)):
            return "a secret's name has letters, digits, dots, dashes and underscores"
        if not _SOURCE.fullmatch(str(source)):
            return f"{name}: expected env:VARIABLE, file:/absolute/path or keyring:SERVICE/USER"
    return None


def _wrong_endpoint(endpoints: tuple[str, ...]) -> str | None:
    for endpoint in endpoints:
        if endpoint.startswith("tcp://"):
            continue  # the daemon reads it, and tells what is wrong with it
        # A relative path depends on the folder of whoever reads it, and an abstract socket
        # (ipc://@name) has no folder that could keep other users out.
        if not endpoint.startswith("ipc:///") or endpoint.endswith("/"):
            return "expected ipc:///run/agentd/sock (an absolute path) or tcp://HOST:PORT"
    return None


def _wrong_specs(value: Any) -> str | None:
    if isinstance(value, Table):
        for name, target in value.items():
            module, colon, qualname = str(target).partition(":")
            parts = [str(name).replace("-", "_"), *module.split("."), *qualname.split(".")]
            if not (colon and all(part.isidentifier() for part in parts)):
                return f'{name}: expected a name, and "package.module:Class"'
        return None
    return 'expected a table like { counter = "shop.stock:Counter" }'


def _within(setting: Field[Any], value: float) -> bool:
    low, above, high = (setting.metadata[key] for key in ("low", "above", "high"))
    return (
        math.isfinite(value)
        and (low is None or value >= low)
        and (above is None or value > above)
        and (high is None or value <= high)
    )


def _range_text(setting: Field[Any]) -> str:
    low, above, high = (setting.metadata[key] for key in ("low", "above", "high"))
    start = f"more than {above:,}" if above is not None else f"from {low:,}"
    return f" {start} to {high:,}"


def _as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_as_toml(item) for item in value) + "]"
    if isinstance(value, Table):
        return "{" + ", ".join(f"{k} = {_as_toml(v)}" for k, v in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)
