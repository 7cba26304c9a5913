"""Every message, one named value each. The keys on the wire are the field names.

A field with a default may be missing on the wire; a default is not sent. ``id`` links an answer
to its question and is unique within a connection. Payloads travel beside the message (see
``envelope``), so that they stay sealed for whoever only routes.
"""

from __future__ import annotations

from typing import Any, Final

from agentd.protocol.fields import KINDS, Message

__all__ = [
    "KINDS",
    "UNRESTRICTED",
    "Accepted",
    "Admit",
    "Answer",
    "Ask",
    "Attach",
    "Bye",
    "Call",
    "Cancel",
    "Chunk",
    "Create",
    "Credit",
    "Detach",
    "Drain",
    "Drained",
    "Drop",
    "Dropped",
    "End",
    "Enlist",
    "Error",
    "Fate",
    "Fetch",
    "Hello",
    "Keep",
    "Locate",
    "Message",
    "Noted",
    "Offer",
    "Ping",
    "Pong",
    "Read",
    "Ready",
    "Release",
    "Result",
    "Start",
    "StartFailed",
    "Started",
    "Supply",
    "Vouch",
    "Vouched",
    "Wanted",
    "Welcome",
]


UNRESTRICTED: Final = "*"
"""In ``Call.by``: this client may send code, and so could do whatever the daemon's user can."""


# -- meeting ---------------------------------------------------------------------------------------
class Hello(Message):
    """The first message on a connection."""

    id: int
    protocol: int
    agentd: str
    python: str
    session: bytes
    pid: int
    host: str
    """Identity of the running system: equal for two processes that share a process table."""
    started: str
    """When the process started, opaque: with ``pid`` it tells a process from its successor."""
    dill: str | None = None
    role: str = "client"


class Welcome(Message):
    """The answer to ``Hello``."""

    id: int
    protocol: int
    agentd: str
    python: str
    role: str
    node: str
    heartbeat_s: float
    grace_s: float
    dill: str | None = None
    now: float = 0.0
    """The clock by which it tells what comes late."""
    max_message: int = 0
    """Bytes of the largest message that it takes; 0: it does not say."""
    endpoint: str = ""
    """Of a daemon: by which its agents know it, in references."""
    takes_code: bool = False
    """Whether this client may send more than plain data: pickles, classes, modules."""


class Ping(Message):
    """Is your loop alive? On the daemon it also renews the session's lease."""

    id: int
    at: float = 0.0
    """When it was sent, by the receiver's clock, as near as the sender knows that; 0: unknown."""


class Pong(Message):
    """It is."""

    id: int
    now: float = 0.0
    """As in ``Welcome``."""


class Bye(Message):
    """The session ends now."""


class Error(Message):
    """The answer to a question that failed. The payload, if any, is the original exception."""

    id: int
    code: str
    message: str
    facts: dict[str, Any] = {}
    codec: str = ""


# -- client and daemon -----------------------------------------------------------------------------
class Create(Message):
    """Host an agent. The payload is sealed: ``(class, args, kwargs)`` or the object."""

    id: int
    agent: bytes
    cls: str
    """``package.module:Class``, for people and logs; what counts is in the payload."""
    mode: str
    """``spec``, ``live``, or ``registered``: ``cls`` is one that the daemon knows, and the payload
    is ``(args, kwargs)``."""
    codec: str
    name: str | None = None
    lifetime: str = "client"
    placement: str = "shared"
    get_if_exists: bool = False
    ack: bool = False
    parent: bytes | None = None
    """The agent that made this one, if one did."""
    options: dict[str, Any] = {}
    """How its calls take turns; read by the worker."""
    needs: list[Any] = []
    """As in ``Call``."""
    at: float = 0.0
    """As in ``Ping``."""
    code: bytes = b""
    """The bundle of modules that the agent needs (see ``Offer``); empty: none."""
    by: str = ""
    """As in ``Call``."""
    plain: bool = False
    """As in ``Call``."""
    brief: bool = False
    """The client has the class: ``ready`` need not tell what it offers."""


class Accepted(Message):
    """The daemon took the agent (or, ``existing``, names the one that has the name)."""

    id: int
    agent: bytes
    existing: bool = False


class Offer(Message):
    """Modules that agents to come need. The payload is the list of them, ``code`` its SHA-256.

    Answered with ``Wanted``: what the daemon does not have.
    """

    id: int
    code: bytes


class Supply(Message):
    """A file of an offered bundle, in the payload; ``file`` is its SHA-256."""

    id: int
    code: bytes
    file: bytes


class Wanted(Message):
    """Files that are to be sent, by their SHA-256; more may be asked for when they have come."""

    id: int
    files: list[Any]


class Locate(Message):
    """Where is the agent? Answered when it is ready, or when it is known that it never will be."""

    id: int
    agent: bytes | None = None
    name: str | None = None
    """A name, or a unique prefix (4 characters or more) of the id in hex."""


class Ready(Message):
    """The agent runs, and here."""

    id: int
    agent: bytes
    cls: str
    worker: str
    address: str
    epoch: int
    about: dict[str, Any] = {}
    """What its class offers, unless the client has that (``Create.brief``)."""
    name: str | None = None
    port: int = 0
    """Told to who came over TCP: where the worker itself is reached at the daemon's host; 0: it is
    not."""
    key: bytes = b""
    """And the public key that it has there."""


class Ask(Message):
    """Administration: ``what`` with ``params``."""

    id: int
    what: str
    params: dict[str, Any] = {}
    at: float = 0.0
    """As in ``Ping``."""


class Vouch(Message):
    """What is that worker doing? It has fallen silent towards the asker."""

    id: int
    worker: str


class Vouched(Message):
    """It is ``well``: it answers the daemon; or ``busy``: it does not, but uses its processor.

    So does code that holds Python's lock. What is neither is told as an error.
    """

    id: int
    state: str


class Fate(Message):
    """How did this epoch of the agent end? Answered as soon as the daemon knows."""

    id: int
    agent: bytes
    epoch: int


class Answer(Message):
    """The answer to ``Ask``; the payload is msgpack."""

    id: int


# -- calls -----------------------------------------------------------------------------------------
# A call is known everywhere by its ``key``: the session of its maker (16 bytes) and a number (8).
class Call(Message):
    """Do ``op`` on the agent. See docs/protocol.md for the ops and their payloads."""

    id: int
    agent: bytes
    epoch: int
    op: str
    name: str = ""
    codec: str = ""
    key: bytes = b""
    timeout: float | None = None
    """Seconds left, not a date: clocks differ."""
    hold: bool = False
    """Keep the outcome until it is released, so that others can ``Fetch`` it."""
    oneway: bool = False
    """Answer ``Accepted`` as soon as it waits in the mailbox, and nothing after that."""
    credit: int = 0
    """For ``op="stream"``: how many items may be sent before more is granted."""
    needs: list[Any] = []
    """References to the outcomes that the payload contains (see ``Fetch``), as
    ``["result", key, agent, endpoint, epoch]`` each; the call starts when all are there."""
    chain: list[Any] = []
    """``[agent, key]`` of each call that waits for this one, outermost first."""
    again: bool = False
    """Sent before, over a connection that broke: not run a second time, whatever became of it."""
    trace: bytes = b""
    """The key of the outermost call, shared by all that it led to; empty: this is that call."""
    lazy: bool = False
    """With ``hold``: a big value stays where it was made until somebody fetches it."""
    at: float = 0.0
    """As in ``Ping``."""
    by: str = ""
    """Written by a daemon that relays, over whatever its client wrote: ``*`` if the payload of
    this client may be more than plain data, else who the client is. A worker decodes code with
    ``*`` only."""
    plain: bool = False
    """The answer is to be plain data: its reader takes nothing that may run code."""


class Cancel(Message):
    """Give the call up. Has no answer: the call itself answers ``CallCancelled``, if it can."""

    agent: bytes
    key: bytes


class Fetch(Message):
    """The outcome of a call made with ``hold``; answered like the call, when it is done."""

    id: int
    agent: bytes
    epoch: int
    key: bytes


class Keep(Message):
    """These calls' values were handed on before they came: they are not sent to their caller.

    He is told ``Result.held``, and fetches the value if he asks for it after all.
    """

    agent: bytes
    keys: list[Any]


class Release(Message):
    """Nobody will fetch these any more."""

    agent: bytes
    keys: list[Any]


class Read(Message):
    """Bytes of a file that the agent returned; answered with ``Result``, the bytes as payload.

    Fewer than ``size`` only at the end of the file, or where the worker limits one answer.
    """

    id: int
    agent: bytes
    epoch: int
    token: bytes
    """From the reference to the file; nothing else names a file."""
    offset: int
    size: int


class Attach(Message):
    """Read a stream from an offset on; answered with ``Chunk`` and then ``End`` or ``Error``."""

    id: int
    agent: bytes
    epoch: int
    key: bytes
    offset: int
    credit: int


class Credit(Message):
    """The reader of stream request ``id`` takes ``more`` items."""

    id: int
    agent: bytes
    more: int


class Detach(Message):
    """The reader of stream request ``id`` is gone, or reads no more. The stream goes on.

    Told by the reader, or by a daemon that relays for it and finds it unreachable.
    """

    id: int
    agent: bytes


class Chunk(Message):
    """Items of a stream: the payload is a list of them, ``offset`` the number of the first."""

    id: int
    offset: int
    items: int
    codec: str = ""


class End(Message):
    """The stream ended in order after ``offset`` items."""

    id: int
    offset: int


class Result(Message):
    """The value of a call, in the payload."""

    id: int
    codec: str = ""
    held: bool = False
    """There is no payload: the value is to be fetched."""


# -- daemon and worker -----------------------------------------------------------------------------
class Enlist(Message):
    """A worker reports for work; and once more if its door to the network was shut."""

    worker: str
    pid: int
    address: str
    agentd: str
    python: str
    dill: str | None = None
    port: int = 0
    """Where it is reached over TCP, and the public key that it has there; 0: it is not."""
    key: bytes = b""
    closed: str = ""
    """Why it is not, though it was to be."""


class Admit(Message):
    """Who may come to the worker over TCP, in place of what was told before.

    The payload is the list (see ``agentd.protocol.admission``). Before it has one, nobody may.
    """


class Noted(Message):
    """What a worker did for a peer that came over TCP: for the daemon's audit log."""

    who: str
    action: str
    agent: bytes
    allowed: bool = True


class Start(Message):
    """Build this agent; the payload is that of ``Create``."""

    agent: bytes
    epoch: int
    cls: str
    mode: str
    codec: str
    name: str | None = None
    options: dict[str, Any] = {}
    needs: list[Any] = []
    code: bytes = b""
    """Its bundle, which lies in the daemon's folder."""
    by: str = ""
    plain: bool = False
    """Both as in ``Call``."""
    maker: str = ""
    """The peer that made the agent: it may do more with it than others."""


class Started(Message):
    """It is built."""

    agent: bytes
    epoch: int
    number: int
    """That of the description of its class; see ``descriptions``."""
    about: dict[str, Any] = {}
    """The description, the first time."""


class StartFailed(Message):
    """It could not be built; the payload, if any, is the original exception."""

    agent: bytes
    epoch: int
    message: str
    facts: dict[str, Any] = {}
    codec: str = ""


class Drop(Message):
    """Let go of the agent; calls still queued fail with ``reason``."""

    agent: bytes
    epoch: int
    reason: str
    kill: bool = False
    """Running calls are given up, too."""


class Dropped(Message):
    """It is gone."""

    agent: bytes
    epoch: int


class Drain(Message):
    """Refuse new calls; say ``Drained`` when the open ones are done."""


class Drained(Message):
    """Nothing is open any more."""
