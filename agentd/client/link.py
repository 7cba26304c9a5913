"""One connection to one peer, used by many threads.

Whichever thread waits for an answer reads the socket for all (``agentd.client.readers``): a
blocking call costs no thread switch. When nobody waits, the process's pump reads
(``agentd.client.pump``).
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from agentd.client.context import running, undisturbed
from agentd.client.pending import Calls, LinkDown, Pending, call_back, no_answer
from agentd.client.readers import Readers, Waiter
from agentd.errors import (
    AgentdError,
    CallTimeout,
    ConnectionLost,
    ProtocolError,
    from_wire,
)
from agentd.protocol import pack, unpack
from agentd.protocol.messages import (
    Accepted,
    Call,
    Chunk,
    Error,
    Hello,
    Message,
    Ping,
    Pong,
    Ready,
    Result,
    Welcome,
)
from agentd.protocol.sizes import check_size, size_of
from agentd.transport.localport import LocalPort
from agentd.transport.unreachable import Unreachable

if TYPE_CHECKING:
    from agentd.transport.sockets import DealerPort

if TYPE_CHECKING:
    from agentd.client.attending import Attending

__all__ = ["Link"]

CLOCK_S = 0.1
"""A round trip that is longer tells too little about the peer's clock, once a shorter one told."""
IN_A_ROW = 64
"""After so many requests that nobody waits for, who sends the next one reads what has come."""


class Link:
    """A connection. Every method may be called from any thread."""

    _told = 0
    """The mark of what was told last."""
    _answered = 0
    """The request whose answer, or a part of it, came last."""

    def __init__(
        self,
        port: DealerPort | LocalPort,
        endpoint: str,
        arm: Callable[[Link], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        watch: Callable[[Link], None] = lambda _link: None,
        rouse: Callable[[], None] = lambda: None,
    ) -> None:
        """``arm`` asks the pump to read this link as nobody else does.

        ``watch`` asks it to do so if nobody else does for a while, ``rouse`` to look after it soon.
        """
        self.endpoint = endpoint
        self.reached = getattr(port, "endpoint", "")
        """Of one over TCP: the numeric address that answered."""
        self.welcome: Welcome | None = None
        self._most = 0
        """Bytes of a message that the peer takes, if it said so."""
        self._marks: list[int] = []
        """Pings of the peer that are to be answered."""
        self._arm = arm
        self._watch = watch
        self._rouse = rouse
        self.calm = True
        """Nothing was asked here since it was last looked after."""
        self._watched = False
        self._lazy = 0
        """Open requests that are so."""
        self._reads = 0
        self._since = 0
        """Lazy requests that were sent since it was read."""
        self.clock = clock
        self._armed = False
        """The pump has been asked, and has not read since."""
        self._port = port
        self._level = port.level
        self._lock = port.lock
        self._numbers = itertools.count(1)
        self._pending: dict[int, Pending] = {}
        self.fds = port.fds
        self._readers = Readers(port.fds, port.lock)
        self.down: AgentdError | None = None
        """Why it is of no use any more."""
        self.attending: Attending | None = None
        """The event loop that reads it, if one does."""
        self.heard = self.clock()
        """When something last arrived, on the monotonic clock."""
        self._came = self.heard
        """When it was last read."""
        self.pinged: float | None = None
        """Since when a ping has had no answer, nor anything else arrived."""
        self.doubted: float | None = None
        """Since when the daemon is asked about this silent worker."""
        self.ahead = 0.0
        """What the peer's clock shows more than ours, at most: ``at`` of what is sent is never
        too early by it, so that nothing counts as late that is not."""
        self._trip: float | None = None

    # -- opening -----------------------------------------------------------------------------------
    def open(self, hello: Callable[[int], Hello], timeout: float) -> Welcome:
        """Meet the peer.

        Raises ``DaemonNotFound`` or ``VersionMismatch``, ``LinkDown`` if the connection broke.
        """
        deadline = self.clock() + timeout
        sent = self.clock()
        try:
            pending = self.submit(hello)
            message, _payload = self.wait(pending, deadline).outcome()
        except CallTimeout:
            self.close()
            raise no_answer(self.endpoint) from None
        except AgentdError:
            self.close()
            raise
        if not isinstance(message, Welcome):
            self.close()
            raise ProtocolError(f"{self.endpoint} answered hello with {message.kind!r}")
        self.welcome = message
        self._most = message.max_message
        self._learn(sent, message.now)
        return message

    def _learn(self, sent: float, theirs: float) -> None:
        """The peer's clock showed ``theirs`` after something was sent at ``sent``, and before now.

        Assumed is that the way there took no time (cf. Cristian, "Probabilistic clock
        synchronization", 1989, who assumes the half): see ``ahead``.
        """
        trip = self.clock() - sent
        if theirs and (self._trip is None or trip <= max(self._trip, CLOCK_S)):
            self._trip = trip
            self.ahead = theirs - sent

    # -- asking ------------------------------------------------------------------------------------
    @undisturbed
    def submit(
        self,
        make: Callable[[int], Message],
        payload: Sequence[Any] = (),
        callback: Callable[[Pending], None] | None = None,
        *,
        lazy: bool = False,
    ) -> Pending:
        """Send ``make(id)``; the request to wait for, or one that calls ``callback``.

        ``lazy``: nobody waits for ``callback``, until ``hurry`` says so; without one, nobody is to
        be told at all. Raises ``LinkDown`` if the connection is broken: then nothing was sent.
        """
        settled: Calls = []
        failure: LinkDown | None = None
        with self._lock:
            if self.down is not None:
                raise LinkDown(self.down.message, endpoint=self.endpoint, sent=False)
            pending = Pending(next(self._numbers), callback)
            message = make(pending.id)
            pending.oneway = isinstance(message, Call) and message.oneway
            frames = pack(message, payload)
            if self._most:  # the peer would end the connection, and not say why
                check_size(message.kind, size_of(frames), self._most, self.endpoint)
            self._pending[pending.id] = pending
            if self.calm:
                self.calm = False
                self._rouse()
            try:
                waiting = self._port.send_locked(frames)
            except Unreachable as error:
                self._pending.pop(pending.id)
                self._break(f"the connection to {self.endpoint} is gone ({error})", settled)
                failure = LinkDown(str(error), endpoint=self.endpoint, sent=False)
            else:
                if lazy:
                    pending.lazy = True
                    self._lazy += 1
                    self._since += 1
                    waiting = waiting or self._since >= IN_A_ROW
                    if callback is not None and not self._watched:
                        self._watched = True
                        self._watch(self)
                elif callback is not None and self._readers.leader is None:
                    self._ask_pump()
                if waiting:
                    self._read(settled)
        call_back(settled)
        if failure is not None:
            raise failure
        return pending

    @undisturbed
    def hurry(self, pending: Pending) -> None:
        """Somebody is to be told of the answer at once, by the callback."""
        with self._lock:
            if not pending.done:
                self._hurry(pending)

    def _hurry(self, pending: Pending) -> None:
        if pending.lazy:
            pending.lazy = False
            self._lazy -= 1
        if self._readers.leader is None:
            self._ask_pump()

    def unread(self, reads: int) -> int | None:
        """For the pump: how often it was read so far; ``None`` if no answers are awaited.

        Where that was ``reads`` already, it is read now.
        """
        settled: Calls = []
        with self._lock:
            if self._reads == reads and self._readers.leader is None:
                self._read(settled)
            self._watched = self.down is None and bool(self._pending)
            seen = self._reads if self._watched else None
        call_back(settled)
        return seen

    @undisturbed
    def when_done(self, pending: Pending, callback: Callable[[Pending], None]) -> None:
        """Call ``callback`` once the request is settled; now, if it is."""
        with self._lock:
            if not pending.done:
                before = pending.callback
                pending.callback = callback if before is None else partial(_both, before, callback)
                self._hurry(pending)
                return
        callback(pending)

    @undisturbed
    def on_change(self, pending: Pending, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, when the next item or the end is there; now, if it is."""
        with self._lock:
            if not pending.done and not pending.chunks:
                pending.on_change = callback
                self._hurry(pending)
                return
        callback()

    @undisturbed
    def drop(self, pending: Pending) -> None:
        """Nobody wants the answer any more; who waits for it is woken, and looks why."""
        settled: Calls = []
        with self._lock:
            if self._forget(pending):
                pending.changed(settled)
        call_back(settled)

    def _forget(self, pending: Pending) -> bool:
        known = self._pending.pop(pending.id, None) is not None
        if known and pending.lazy:
            self._lazy -= 1
        return known

    def listen(self) -> None:
        """Nobody awaits anything: have the pump notice whatever comes, also that it breaks."""
        with self._lock:
            if self.down is None and self._readers.leader is None:
                self._ask_pump()

    def _ask_pump(self) -> None:
        if not self._armed:
            self._armed = True
            self._arm(self)

    @undisturbed
    def tell(self, message: Message) -> int | None:
        """Send what has no answer; never waits for the peer to take it.

        The mark to ask ``has_shown`` for; ``None``: it was not sent, as the connection is broken.
        """
        settled: Calls = []
        mark = None
        with self._lock:
            if self.down is None:
                try:
                    waiting = self._port.send_locked(pack(message))
                except Unreachable as error:
                    self._break(f"the connection to {self.endpoint} is gone ({error})", settled)
                else:
                    mark = self._told = next(self._numbers)
                    if waiting:
                        self._read(settled)
        call_back(settled)
        return mark

    def has_shown(self, mark: int) -> bool:
        """Whether what was told then is known to have been read: something sent later is answered.

        It is found out within about a heartbeat: see ``waiting``.
        """
        return self._answered > mark

    @undisturbed
    def wait(
        self,
        pending: Pending,
        deadline: float | None = None,
        until: Callable[[Pending], bool] | None = None,
        *,
        fresh: bool = False,
    ) -> Pending:
        """Wait for the answer; raises ``CallTimeout`` at the deadline (monotonic seconds).

        ``until``: for what else. ``fresh``: it was sent just now, and its answer is hardly here.
        """
        settled: Calls = []
        readers = self._readers
        me: Waiter | None = None
        skip = fresh and self._level
        try:
            with self._lock:  # by a call of ``acquire`` ctrl-C could leave it taken
                try:
                    while True:
                        if not skip:
                            self._read(settled)
                        skip = False
                        if pending.done if until is None else until(pending):
                            return pending
                        now = self.clock()
                        if deadline is not None and now >= deadline:
                            raise CallTimeout("no answer in time", timeout=deadline - now)
                        if me is None:
                            call = running.get()
                            if call is not None:
                                call.gives_way()
                            me = pending.waiter = Waiter(readers, fresh=fresh)
                        limit = None if deadline is None else deadline - now
                        if settled:
                            try:
                                self._lock.release()  # see ``Readers.lead``
                                call_back(settled)
                            finally:
                                self._lock.acquire()
                        elif readers.leader is None:
                            readers.lead(me, limit)
                        else:
                            readers.follow(me, limit)
                finally:
                    if me is not None:
                        pending.waiter = None
                        if me in readers.followers:
                            readers.followers.remove(me)
                    self._hand_over()
        finally:
            call_back(settled)

    def _hand_over(self) -> None:
        """Let somebody else read, if anybody needs it."""
        readers = self._readers
        if readers.leader is not None or self.down is not None:
            return
        if readers.followers:
            readers.followers.pop(0).wake()
        elif self._is_wanted():
            self._ask_pump()

    def _is_wanted(self) -> bool:
        """Whether somebody who does not read himself is to be told at once."""
        return len(self._pending) > self._lazy

    # -- reading -----------------------------------------------------------------------------------
    def pump(self) -> bool:
        """Read what is there; True if the pump is needed further. Called by the pump."""
        settled: Calls = []
        with self._lock:
            self._read(settled)
            further = self.down is None and self._is_wanted() and self._readers.leader is None
            self._armed = further
        call_back(settled)
        return further

    @undisturbed
    def look(self) -> None:
        """Read what is there, for one who does not wait."""
        settled: Calls = []
        with self._lock:
            self._read(settled)
        call_back(settled)

    def _read(self, settled: Calls) -> None:
        if self.down is not None:
            return
        self._reads += 1
        self._since = 0
        self._came = self.clock()
        port = self._port
        # Looked at first: what came before it broke is read below, and counts.
        broken = port.has_broken()
        while True:
            messages, more = port.receive_locked(100)
            if messages:
                self.heard = self._came
                self.pinged = self.doubted = None
            for frames in messages:
                self._take(frames, settled)
            if not more and not self._show_read():
                break
        if broken or port.has_broken():
            self._break(f"the connection to {self.endpoint} broke", settled)

    def _show_read(self) -> bool:
        """Answer the peer's pings: what it sent before them is read. Whether there is more now."""
        waiting = False
        while self._marks:
            try:
                waiting = self._port.send_locked(pack(Pong(self._marks.pop())))
            except Unreachable:
                break
        return waiting

    def _take(self, frames: list[Any], settled: Calls) -> None:
        try:
            message = unpack(frames)
        except ProtocolError:
            return  # an answer that cannot be read has no id to blame; its caller times out
        kind = type(message)
        if kind is Result or kind is Ready:  # what nearly all of them are
            self._take_answer(message, frames, settled)
            return
        number = getattr(message, "id", 0)
        if isinstance(message, Ping):  # has this side read what came before?
            self._marks.append(number)
            return
        self._answered = number
        pending = self._pending.get(number)
        if isinstance(message, Error) and self._ends(message, settled):
            return
        if pending is None:
            return  # the answer to a request that was given up
        if isinstance(message, Chunk):
            if message.items:
                if pending.chunks is None:
                    pending.chunks = deque()
                pending.chunks.append((message, frames[1:]))
                pending.changed(settled)
            return
        if isinstance(message, Accepted) and pending.accepted is None:
            pending.accepted = message
            if not pending.oneway:
                if pending.waiter is not None:
                    pending.waiter.wake()
                return
        self._done(pending, message, frames, settled)

    def _take_answer(self, message: Message, frames: list[Any], settled: Calls) -> None:
        self._answered = number = message[0]
        pending = self._pending.pop(number, None)
        if pending is not None:
            if pending.lazy:
                self._lazy -= 1
            pending.message = message
            pending.payload = frames[1:]
            pending.settle(settled)

    def _ends(self, message: Error, settled: Calls) -> bool:
        """Whether the peer says with it that this connection is of no use."""
        if message.id == 0 and message.code == "AuthenticationFailed":
            self._shut_out(from_wire(message.code, message.message, message.facts), settled)
        elif message.code == ProtocolError.code and message.facts.get("unmet"):
            # It broke, and ZeroMQ made it anew before anybody here saw that.
            self._break(f"{self.endpoint} does not know this connection (any more)", settled)
        else:
            return False
        return True

    def _done(self, pending: Pending, message: Message, frames: list[Any], settled: Calls) -> None:
        self._forget(pending)
        pending.message = message
        pending.payload = frames[1:]
        if isinstance(message, Error) and message.code != "raised":
            pending.failure = from_wire(message.code, message.message, message.facts)
        pending.settle(settled)

    def _break(self, why: str, settled: Calls, *, for_good: bool = False) -> None:
        self.down = LinkDown(why, endpoint=self.endpoint)
        self._rouse()
        self.stop_attending()
        pending, self._pending = self._pending, {}
        self._lazy = 0
        for request in pending.values():
            request.failure = (
                ConnectionLost(why, endpoint=self.endpoint)
                if for_good
                else LinkDown(why, endpoint=self.endpoint, sent=True)
            )
            request.settle(settled)
        for follower in self._readers.followers:
            follower.wake()

    def stop_attending(self) -> None:
        """There is nothing to be read any more."""
        attending, self.attending = self.attending, None
        if attending is not None:
            attending.stop()

    def _shut_out(self, refusal: AgentdError, settled: Calls) -> None:
        """The peer has no grant for us (any more): not of one request, of them all."""
        pending, self._pending = self._pending, {}
        self._lazy = 0
        for request in pending.values():
            request.failure = refusal
            request.settle(settled)
        self._break(refusal.message, settled)

    # -- ending ------------------------------------------------------------------------------------
    @undisturbed
    def fail(self, why: str, *, for_good: bool = False) -> None:
        """Give the connection up: what is open fails with ``LinkDown``.

        ``for_good``: with ``ConnectionLost``, as there is nobody whom it could be asked for again.
        """
        settled: Calls = []
        with self._lock:
            if self.down is None:
                self._break(why, settled, for_good=for_good)
            if self._readers.leader is not None:
                self._readers.leader.wake()
        call_back(settled)

    @undisturbed
    def ping(self) -> None:
        """Ask for a sign of life; ``heard`` tells when one came."""
        sent = self.clock()
        if self.pinged is None:
            self.pinged = sent
        try:
            self.submit(
                lambda number: Ping(number, sent + self.ahead), (), partial(self._ponged, sent)
            )
        except LinkDown:
            pass

    def _ponged(self, sent: float, pending: Pending) -> None:
        if isinstance(pending.message, Pong):
            self._learn(sent, pending.message.now)

    @undisturbed
    def excuse(self, now: float) -> None:
        """It is silent for a reason: it has as much time again."""
        with self._lock:
            self.heard = now
            self.pinged = self.doubted = None

    @property
    def waiting(self) -> bool:
        """Whether requests are open, or it is not known whether something told was read.

        It may still wait for the socket to take it, which it does only while somebody reads.
        """
        return bool(self._pending) or self._told > self._answered

    def close(self, linger_ms: int = 0) -> None:
        """Close the sockets; open requests fail."""
        self.fail(f"the connection to {self.endpoint} was closed")
        with self._lock:
            self._port.close_locked(linger_ms)


def _both(
    first: Callable[[Pending], None], second: Callable[[Pending], None], pending: Pending
) -> None:
    first(pending)
    second(pending)
