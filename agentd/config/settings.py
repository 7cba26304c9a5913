"""Every setting of the daemon: its default, its limits, and one line of why."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from agentd.config.checking import Table, check, setting
from agentd.errors import ConfigError

__all__ = ["ServerConfig"]

_LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_LOG_FORMATS: Final = ("text", "json")
_MIB: Final = 1024 * 1024
_NOTHING: Final = Table()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """All settings of one daemon. One that exists is valid: building it checks every field."""

    bind: tuple[str, ...] = setting(
        (),
        "Endpoints to listen on: ipc:///absolute/path for this user, unix:///absolute/path for "
        "other users, too (docs/security.md), tcp://HOST:PORT only with keys; without one of the "
        "first two also agentd.sock in the run folder.",
    )
    workers: int = setting(
        0,
        "Worker processes that host the agents; 0: one per core, since each has its own GIL.",
        low=0,
        high=1024,
    )
    worker_ports: str = setting(
        "",
        "Ports, as 5600-5699, of which each worker takes one, so that clients over TCP call it "
        "straight; more of them than workers, and open where that of --bind is. Empty: the daemon "
        "relays these calls.",
    )
    path: tuple[str, ...] = setting(
        (),
        "Folders that workers can import from, before their own sys.path.",
    )
    safe: bool = setting(
        False,  # noqa: FBT003 - the default of a setting
        "Safe mode: no pickle anywhere, only plain data, and only agents that are registered. "
        "Recommended wherever others than you have access.",
    )
    specs: Table = setting(  # noqa: RUF009 - as the others; it is told by the type
        _NOTHING,
        "Registered agents, which may be made without sending code: package.module:Class, by name. "
        "Installed packages add theirs by the entry point group agentd.agents.",
    )
    run_dir: str = setting(
        "",
        "Private folder (mode 0700) for sockets and the lock; empty: this user's runtime folder.",
    )
    config_dir: str = setting(
        "",
        "Folder of keys and grants; empty: agentd below $XDG_CONFIG_HOME or ~/.config.",
    )
    log_level: str = setting(
        "info",
        "Least level that is logged: info is one line per lifecycle change, debug adds details.",
        choices=_LOG_LEVELS,
    )
    log_format: str = setting(
        "text",
        "text for people, json (one object a line) for log collectors.",
        choices=_LOG_FORMATS,
    )
    shutdown_grace_s: float = setting(
        25.0,
        "Time for open calls after SIGTERM; Kubernetes sends SIGKILL after 30 s, 5 s stay spare.",
        low=0,
        high=86_400,
    )
    client_grace_s: float = setting(
        15.0,
        "Silence after which a client is gone and its agents end: 15 heartbeats, so a pause of "
        "its garbage collector or a short suspend costs nothing.",
        above=0,
        high=86_400,
    )
    heartbeat_s: float = setting(
        1.0,
        "Time between two signs of life; a peer counts as lost after 3, so in about 3 s.",
        low=0.05,
        high=60,
    )
    restart_limit: int = setting(
        5,
        "Restarts that an agent may use up within restart_window_s before it is given up, counted "
        "as in Erlang's restart intensity (1 in 5 s there; systemd allows 5 in 10 s).",
        low=0,
        high=1_000_000,
    )
    restart_window_s: float = setting(
        60.0,
        "The window of restart_limit: catches a crash that needs 10 s of work to come back.",
        above=0,
        high=86_400,
    )
    worker_backoff_s: float = setting(
        0.1,
        "Wait before a worker that died is replaced, doubled each time; one crash is not noticed.",
        above=0,
        high=3_600,
    )
    worker_backoff_max_s: float = setting(
        30.0,
        "The longest such wait: a machine out of memory gets rest, a repaired one is soon back.",
        above=0,
        high=86_400,
    )
    log_lines: int = setting(
        1_000,
        "Lines of stdout and stderr kept per agent, the oldest go first: about 100 KB each.",
        low=0,
        high=1_000_000,
    )
    tombstones: int = setting(
        10_000,
        "Ended agents remembered, to say when and why they ended: a few MB at most.",
        low=0,
        high=10_000_000,
    )
    max_message_bytes: int = setting(
        512 * _MIB,
        "The largest message, all its frames together; PayloadTooLarge above. As large as that "
        "since an array of 256 MiB is a legitimate argument of a call that the daemon relays.",
        low=_MIB,
        high=2**40,
    )
    max_header_bytes: int = setting(
        65_536,
        "The largest header that clients may send. It can only be made smaller: nginx allows 8 "
        "KiB, node 16 KiB, ours also lists the results that a call needs.",
        low=4_096,
        high=65_536,
    )
    max_frames: int = setting(
        1_026,
        "Frames of a message of clients: header, head, and 1,024 buffers of arrays.",
        low=8,
        high=1_026,
    )
    max_header_depth: int = setting(
        32,
        "How deep lists and maps in a header of clients may be nested.",
        low=8,
        high=32,
    )
    max_header_items: int = setting(
        10_000,
        "Items in a header of clients, all lists and maps together; and none becomes more than 4 "
        "times max_header_bytes in memory.",
        low=100,
        high=10_000,
    )
    max_malformed: int = setting(
        20,
        "Messages that are none, until the process or key that sends them is disconnected and not "
        "listened to for a second; a relapse doubles that, up to a minute. No program sends any by "
        "accident. 0: all are answered.",
        low=0,
        high=1_000_000,
    )
    client_portion: float = setting(
        0.5,
        "Of the daemon's time, what one client may use for what it sends while others ask "
        "something, too: so that one that is always busy leaves processors to their calls. Several "
        "busy ones share all of it, and who has had less than half of it is not meant. 1: as much "
        "as it wants.",
        low=0.05,
        high=1,
    )
    client_calls: int = setting(
        16_384,
        "Questions of one client that are open in the daemon: relayed calls, creations, searches. "
        "As many as wait for one agent at most; one client alone does not fill daemon_calls.",
        low=1,
        high=10_000_000,
    )
    client_bytes: int = setting(
        512 * _MIB,
        "Bytes of one client's open questions; not less than max_message_bytes, or the largest "
        "would never be taken.",
        low=_MIB,
        high=2**40,
    )
    agent_calls: int = setting(
        16_384,
        "Relayed calls that are open for one agent, of all clients.",
        low=1,
        high=10_000_000,
    )
    agent_bytes: int = setting(
        512 * _MIB,
        "Bytes of the relayed calls that are open for one agent.",
        low=_MIB,
        high=2**40,
    )
    daemon_calls: int = setting(
        65_536,
        "Open questions of all clients: about 1 KB each beside their payloads.",
        low=1,
        high=100_000_000,
    )
    daemon_bytes: int = setting(
        1_024 * _MIB,
        "Bytes of all open questions: two of the largest messages at once.",
        low=_MIB,
        high=2**40,
    )
    max_agents: int = setting(
        10_000,
        "Agents at a time: the daemon keeps what each was made from, to start it again.",
        low=1,
        high=10_000_000,
    )
    max_queued_bytes: int = setting(
        512 * _MIB,
        "Answers that wait for one client that has not read the ones before; it is disconnected "
        "when there are more.",
        low=_MIB,
        high=2**40,
    )
    kept_bytes: int = setting(
        256 * _MIB,
        "Memory that each worker keeps for large values, for seconds: so much shared memory to "
        "send them by, and as much of what it received. Programs that call agents read "
        "AGENTD_KEPT_BYTES, for their embedded daemon, too. 0: none, and no shared memory.",
        low=0,
        high=2**40,
    )
    max_connections: int = setting(
        4_096,
        "Connections of clients at a time, and no more than 80 % of the open files that the system "
        "allows; a further one is closed at once.",
        low=1,
        high=1_000_000,
    )
    handshake_s: float = setting(
        2.0,
        "Time a connection may take to say what it speaks; libzmq's own default is 30 s.",
        low=0.1,
        high=60,
    )
    max_memory_bytes: int = setting(
        2_048 * _MIB,
        "Memory of the daemon's process (resident); above it the client that sends most without "
        "finishing a message is disconnected. daemon_bytes, and as much for what waits for "
        "clients. 0: not watched.",
        low=0,
        high=2**44,
    )

    secrets: Table = setting(  # noqa: RUF009 - as the others; it is told by the type
        _NOTHING,
        "Values that agents get as agentd.Secret(NAME), by name: env:VARIABLE, file:/path or "
        "keyring:SERVICE/USER. Values themselves do not belong in this file.",
    )
    worker_user: str = setting(
        "",
        "User (name, or number as text) whom the workers run as, not root; the daemon has to be "
        "started as root, or with CAP_SETUID, CAP_SETGID and CAP_KILL. Empty: the daemon's own "
        "user. See docs/security.md.",
    )
    worker_env: tuple[str, ...] = setting(
        (),
        "Variables that workers get in safe mode, or with worker_user, beside PATH, HOME, the "
        "locale and the like; * stands for any characters. Else they get all that the daemon has.",
    )
    worker_memory_bytes: int = setting(
        0,
        "Writable memory of a worker, from 128 MiB on, beyond which its agents get MemoryError; "
        "0: no limit, as only you know how large your models are.",
        low=0,
        high=1 << 60,
    )
    worker_files: int = setting(
        0,
        "Open descriptors of a worker, from 64 on; 0: as many as the system allows, up to 65,536.",
        low=0,
        high=1_000_000,
    )
    audit_file: str = setting(
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
            check(each, getattr(self, each.name), "ServerConfig")
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
