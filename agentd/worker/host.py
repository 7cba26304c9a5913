"""The agents of this worker, and the messages that reach them.

Frames come in on the loop's thread, work is done on the executor's threads, and each answer is
sent from the thread that has it. Agents are built by ``Builder``, calls go to the ``Desk``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from agentd.client.references import install
from agentd.errors import (
    AgentdError,
    ProtocolError,
    TooLate,
    VersionMismatch,
)
from agentd.protocol import (
    PROTOCOL,
    Beats,
    Versions,
    defect_message,
    error_message,
    local_versions,
    unpack,
)
from agentd.protocol.access import Subject
from agentd.protocol.messages import (
    Admit,
    Attach,
    Call,
    Cancel,
    Credit,
    Detach,
    Drain,
    Drained,
    Drop,
    Dropped,
    Fetch,
    Hello,
    Keep,
    Message,
    Ping,
    Pong,
    Read,
    Release,
    Start,
    Welcome,
)
from agentd.protocol.sizes import size_of
from agentd.transport.lines import by_route
from agentd.transport.localport import LocalPort
from agentd.transport.localrouter import LocalRouter
from agentd.transport.loop import Loop
from agentd.transport.recorder import Recorder
from agentd.worker.building import Builder
from agentd.worker.desk import Desk
from agentd.worker.executor import AFew, Executor
from agentd.worker.files import answer as answer_read
from agentd.worker.hosted import Agents
from agentd.worker.questions import ASKING, OWN, RELAYED, Asked, Questions, open_already
from agentd.worker.references import HostReferences
from agentd.worker.rows import Row
from agentd.worker.settings import Settings
from agentd.worker.source import Source

__all__ = ["Host"]

READERS = 4
"""Files are read by so many threads at most: a disk is not faster for more."""


class Host:
    """All agents of one worker process."""

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        front: LocalRouter,
        back: LocalPort,
        recorder: Recorder,
        executor: Executor,
        gives_way: Callable[[], None] = lambda: None,
    ) -> None:
        """``gives_way``: called where an agent's code begins to wait for another call."""
        self._settings = settings
        self._loop = loop
        self._front = front
        self._back = back
        self._flushing = False
        """What is to be told to the daemon leaves after what has come is read."""
        self._beats = Beats(settings.heartbeat_s, loop.clock)
        self._readers = AFew(executor, READERS)
        self._agents = Agents()
        self.questions = Questions(settings, loop.clock)
        self._daemon = self._relayed(b"")
        self._clients: dict[bytes, Source] = {}
        """Those whose connections are there, by route."""
        front.on_lost = lambda peer: self._lost(peer.route)
        self._references = HostReferences(settings.daemon, self._agents)
        install(self._references)
        self.on_admit: Callable[[list[Any]], None] = lambda _payload: None
        """Called with who may come over the network."""
        self._desk = Desk(
            settings,
            loop,
            front,
            back,
            recorder,
            executor,
            self._references,
            self._later,
            gives_way,
            lambda: self.tell(Drained()),
        )
        self._builder = Builder(
            settings,
            self._daemon,
            back,
            recorder,
            executor,
            self._references,
            Row(executor, self._later, back.flush, self._flush_soon),
            self._desk.fetch_needs,
            self._agents,
            gives_way,
        )
        loop.serve(front, self._from_client)
        loop.serve(back, self._from_daemon, by_route)

    def _flush_soon(self) -> None:
        """Send what is to be told to the daemon, after what has come is read. From any thread."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False  # first: what is put from now on asks again
        self._back.flush()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """``loop.later``, from any thread."""

        def start() -> None:
            self._loop.later(seconds, action)

        self._loop.call_soon(start)

    def _lost(self, route: bytes) -> None:
        source = self._clients.pop(route, None)
        if source is not None:
            source.asked.lost()
        self._desk.sent.lost(route)

    def _meet(self, route: bytes) -> Source:
        owner = self._front.owner(route)
        asked = Asked(self.questions, owner)
        source = Source(self._loop, self._front, asked, (OWN, route), route)
        if owner:  # else it has gone, and nobody would forget it
            self._clients[route] = source
        return source

    def _relayed(self, route: bytes) -> Source:
        """Of the daemon's client by that route, of which only one-way calls count here."""
        asked = Asked(self.questions, route)
        return Source(self._loop, self._back, asked, (RELAYED, route), route)

    # -- frames ------------------------------------------------------------------------------------
    def _from_client(self, frames: list[Any]) -> None:
        route = frames[0]
        self._desk.sent.look(route)
        self._take(self._clients.get(route) or self._meet(route), frames[1:])

    def _from_daemon(self, frames: list[Any]) -> None:
        if frames[0]:
            self._take(self._relayed(bytes(frames[0])), frames[1:])
            return
        message, payload = unpack(frames[1:]), frames[2:]
        match message:
            case Start():
                self._builder.start(message, payload)
            case Drop():
                self._drop(message)
            case Drain():
                self._desk.drain()
            case Admit():
                self.on_admit(payload)
            case Ping():
                now = self._loop.clock()
                self._desk.is_late(self._daemon, message.at, now)
                self.tell(Pong(message.id, now))
            case Pong():
                pass
            case _:
                raise ProtocolError(f"a daemon does not say {message.kind!r} to a worker")

    def _take(self, source: Source, frames: list[Any]) -> None:
        number, kind = 0, "a message"
        try:
            message = unpack(frames)
            kind = message.kind
            number = getattr(message, "id", 0)
            if isinstance(message, ASKING):
                if source.own or (type(message) is Call and message.oneway):
                    if source.asked.is_open(number):
                        number = 0  # an answer with its own belongs to the one that is open
                        raise open_already(message.id)
                    source.asked.admit(message, size_of(frames))
            elif isinstance(message, Ping) and not self._beats.is_due(source.who):
                self._charge(source, frames)
            elif isinstance(message, Hello):
                source.answer(self.welcome(message))
                return
            self.take(source, message, frames[1:])
        except AgentdError as error:
            source.answer(error_message(number, error))
            if not isinstance(error, TooLate):  # we are behind: to serve it slowly would not help
                self._charge(source, frames)
            if isinstance(error, ProtocolError) and source.port is self._front:
                self._front.fault(source.who[1], len(frames[0]) if frames else 0)
        except Exception as failure:
            source.answer(defect_message(number, "worker", kind, failure))
            raise  # the loop tells it

    def take(self, source: Source, message: Message, payload: list[Any]) -> None:
        """Carry out what a client says; raises what it is to be told."""
        match message:
            case Call():
                self._desk.accept(self._agents[message.agent], source, message, payload)
            case Credit():
                self._credit(source, message)
            case Fetch():
                self._desk.fetch(source, message)
            case Read():
                self._read(source, message)
            case Cancel() | Keep() | Release():
                self._desk.told(message)
            case Attach():
                self._desk.streams.attach(source, message)
            case Detach():
                source.leave(message.id)
                self._detach(source, message)
            case Ping():
                now = self._loop.clock()
                self._desk.is_late(source, message.at, now)
                source.answer(Pong(message.id, now))
            case _:
                raise ProtocolError(f"a client does not say {message.kind!r} to a worker")

    def _charge(self, source: Source, frames: list[Any]) -> None:
        """It made work that helps nobody; the daemon sees to those who come by it."""
        if source.port is self._front:
            self._front.charge(source.who[1], sum(map(len, frames)))

    def tell(self, message: Message) -> None:
        """Tell the daemon. From any thread."""
        self._daemon.answer(message)

    def subject(self, agent: bytes) -> Subject:
        """What is known here of an agent that decides who may deal with it."""
        return self._agents.subject(agent)

    @property
    def is_draining(self) -> bool:
        """Whether new calls are refused."""
        return self._desk.draining

    def welcome(self, hello: Hello) -> Welcome:
        """The answer to who introduces himself; raises ``VersionMismatch``."""
        mine = local_versions()
        if hello.protocol != PROTOCOL:
            theirs = Versions(hello.protocol, hello.agentd, hello.python, hello.dill)
            raise VersionMismatch(
                f"the client runs {theirs}, the worker {mine}; they cannot talk",
                local=str(theirs),
                remote=str(mine),
            )
        return Welcome(
            hello.id,
            mine.protocol,
            mine.agentd,
            mine.python,
            "worker",
            self._settings.worker,
            self._settings.heartbeat_s,
            self._settings.grace_s,
            mine.dill,
            self._loop.clock(),
            takes_code=not self._settings.safe,
        )

    # -- agents ------------------------------------------------------------------------------------
    def _drop(self, message: Drop) -> None:
        hosted = self._agents.get(message.agent)
        if hosted is not None:
            still = hosted.end(message.reason)
            if message.kill:
                for item in still:
                    item.give_up(hosted.ended_error())
            self._agents.leave(hosted)
        self.tell(Dropped(message.agent, message.epoch))

    def _credit(self, source: Source, message: Credit) -> None:
        hosted = self._agents.get(message.agent)
        if hosted is not None and hosted.grant(source.who, message.id, message.more):
            # A look in its turn: there may be a newer value than the last one sent.
            hosted.post(hosted.turn_ended)
        else:
            self._desk.streams.grant(source, message.id, message.more)

    def _detach(self, source: Source, message: Detach) -> None:
        hosted = self._agents.get(message.agent)
        if hosted is None or not hosted.detach(source.who, message.id):
            self._desk.streams.detach(source, message)

    def _read(self, source: Source, message: Read) -> None:
        """Bytes of a file: not in the agent's turn, and not in the loop's thread."""
        self._agents[message.agent].check_takes_calls(message.epoch)
        self._readers.submit(partial(answer_read, self._references.files, source, message))
