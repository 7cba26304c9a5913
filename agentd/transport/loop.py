"""The one loop of a daemon or a worker: sockets, descriptors, timers, signals."""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from agentd.transport.lines import Lines
from agentd.transport.localport import LocalPort
from agentd.transport.localrouter import LocalRouter
from agentd.transport.unreachable import Unreachable

if TYPE_CHECKING:
    from agentd.transport.localfront import LocalFront
    from agentd.transport.lookout import Lookout
    from agentd.transport.sockets import Port

__all__ = ["AnyPort", "Loop", "Timer"]

AnyPort: TypeAlias = "Port | LocalPort | LocalRouter"
"""What the loop serves: sockets of ZeroMQ, and those of this host."""

BATCH = 100
"""Messages taken from one socket before the others have their turn."""
TURN_S = 0.0003
"""For so long what came of many by one connection is delivered, until it is looked for more: a
dozen short calls."""

CPU_LOOK_S = 0.05
"""How often it is noted at most how much processor time was used: that takes a system call."""


class Timer:
    """A call to come; ``cancel`` if it need not."""

    __slots__ = ("action", "cancelled")

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.cancelled = False

    def cancel(self) -> None:
        """It will not be called."""
        self.cancelled = True


class _Served:
    """A port, and who is handed its messages. No tuple: compiled, those have no identity."""

    __slots__ = ("deliver", "port")

    def __init__(self, port: AnyPort, deliver: Callable[[list[Any]], None]) -> None:
        self.port = port
        self.deliver = deliver


class Loop:
    """Runs until ``stop``. Only ``send`` and ``call_soon`` may be used from other threads.

    An action that raises is a defect: it is logged, and the others go on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._ports: dict[int, _Served] = {}
        self._hot: set[int] = set()
        self._inbox: deque[tuple[_Served, list[Any]]] = deque()
        self._lines: Lines[tuple[_Served, list[Any]]] = Lines()
        self._whose: dict[int, Callable[[list[Any]], Hashable | None]] = {}
        """Of ports by which messages of many come: whose each is."""
        self.after: Callable[[], bool] | None = None
        """Called after each message: False if this thread does not run the loop any more."""
        self.lookout: Lookout | None = None
        """Set where the next message is expected at once: how it is waited for."""
        self._unsent: set[LocalPort | LocalFront] = set()
        self._more: list[_Served] = []
        """Ports that have more than what is in the inbox."""
        self._resting: dict[int, Timer] = {}
        """Ports where something waits that is not to be read at once."""
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self.running = True
        """Whether it has not been stopped."""
        self._on_signal: dict[int, Callable[[], None]] = {}
        self._cpu_before = time.process_time()
        self._cpu_at = clock()
        self._leader = threading.get_ident()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._soon: deque[Callable[[], None]] = deque()
        self.watch(self._wake, self._woken)

    def watch(self, fd: int, action: Callable[[], None]) -> None:
        """Call ``action`` whenever the descriptor is readable."""
        self._readers[fd] = action
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """No more; before the descriptor is closed."""
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def serve(
        self,
        port: AnyPort,
        deliver: Callable[[list[Any]], None],
        whose: Callable[[list[Any]], Hashable | None] | None = None,
    ) -> None:
        """Hand each message of the port to ``deliver``.

        ``whose``: who of many a message is of, so that each has a turn; ``None``: of nobody, and
        it stays where it came.
        """
        self._ports[port.fd] = _Served(port, deliver)
        if whose is not None:
            self._whose[port.fd] = whose
        self._hot.add(port.fd)  # what came before epoll looked would not be signalled again
        self._epoll.register(port.fd, select.EPOLLIN)

    def unserve(self, port: AnyPort) -> None:
        """No more, once what has come is delivered; before the port is closed."""
        served = self._ports.get(port.fd)
        if served is None:
            return
        before = [*self._inbox, *(self._lines.take() for _ in range(self._lines.count))]
        self._inbox.clear()
        self._inbox.extend(each for each in before if each[0] is not served)
        mine = [message for whose, message in before if whose is served]
        more = True
        while more:
            messages, more = port.receive(BATCH)
            mine.extend(messages)
        for message in mine:
            _done(served.deliver, message)
        del self._ports[port.fd]
        self._whose.pop(port.fd, None)
        self._hot.discard(port.fd)
        self._epoll.unregister(port.fd)

    def send(self, port: AnyPort, frames: list[Any]) -> None:
        """Send from any thread; raises ``Unreachable``. Input noticed meanwhile is read soon."""
        try:
            waiting = port.send(frames)
        except Unreachable:
            self._heat(port.fd)
            raise
        if waiting:
            self._heat(port.fd)

    def send_soon(self, port: LocalPort | LocalFront, frames: list[Any]) -> None:
        """Send together with what else goes there in this turn; in the loop's thread only.

        Whoever it goes to wakes once for all of it. Raises ``Unreachable``.
        """
        port.put(frames)
        if not self._unsent:
            self.call_soon(self._flush)
        self._unsent.add(port)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, set()
        for port in unsent:
            port.flush()

    def _heat(self, fd: int) -> None:
        if threading.get_ident() == self._leader:
            self._hot.add(fd)
        else:
            self.call_soon(lambda: self._hot.add(fd))

    def call_soon(self, action: Callable[[], None]) -> None:
        """Call ``action`` in the loop's thread; from any thread."""
        self._soon.append(action)
        if threading.get_ident() != self._leader:
            os.eventfd_write(self._wake, 1)

    def _woken(self) -> None:
        os.eventfd_read(self._wake)

    def _run_soon(self) -> None:
        for _ in range(len(self._soon)):  # what these add comes after the sockets had their turn
            _done(self._soon.popleft())

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Call ``action`` once, not before ``seconds`` have passed."""
        timer = Timer(action)
        heapq.heappush(self._timers, (self.clock() + seconds, next(self._order), timer))
        return timer

    def on_signal(self, number: int, action: Callable[[], None]) -> None:
        """Call ``action`` from the loop after the signal. Its number comes by a pipe.

        So it does not matter when Python runs the handler, which does nothing.
        """
        if not self._on_signal:
            read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            signal.set_wakeup_fd(write, warn_on_full_buffer=False)
            self.watch(read, lambda: self._run_signals(read))
        self._on_signal[number] = action
        signal.signal(number, lambda _number, _frame: None)

    def stop(self) -> None:
        """``run`` returns after this turn."""
        self.running = False

    def run(self) -> None:
        """Until ``stop``, in this thread."""
        self.lead()
        while self.running:
            self.turn()

    def lead(self) -> None:
        """This thread runs the turns from now on; the one before it runs none any more."""
        self._leader = threading.get_ident()

    def turn(self) -> bool:
        """Wait for something, do it, run the timers that are due.

        False if this thread lost the loop meanwhile (see ``after``): the next one goes on with what
        has come.
        """
        if not self._inbox:
            self._collect()
        if not self._deliver() or not self._deliver_in_turn():
            return False
        self._run_timers()
        return True

    def _collect(self) -> None:
        """Wait for something; what it was is in the inbox then."""
        wait = self._wait()
        if wait and (now := self.clock()) - self._cpu_at > CPU_LOOK_S:
            self._cpu_at = now
            self._cpu_before = time.process_time()
        for fd, _mask in self._events(wait):
            if fd in self._ports:
                self._hot.add(fd)
            else:
                action = self._readers.get(fd)
                # An earlier action of this turn may have unwatched it.
                if action is not None and not _done(action):
                    self.unwatch(fd)  # it would be readable for ever
        self._run_soon()
        hot, self._hot = self._hot, set()
        for fd in hot:
            served = self._ports.get(fd)
            if served is None:
                continue
            messages, more = served.port.receive(BATCH)
            if more:
                self._more.append(served)
            whose = self._whose.get(fd)
            if whose is None:
                self._inbox.extend([(served, message) for message in messages])
            else:
                for message in messages:
                    who = whose(message)
                    self._lines.put(None if who is None else (fd, who), (served, message))

    def _events(self, wait: float) -> list[tuple[int, int]]:
        poll, lookout = self._epoll.poll, self.lookout
        if not wait or lookout is None:
            return poll(wait)
        return lookout.wait(partial(poll, 0), partial(poll, wait))

    def _deliver(self) -> bool:
        inbox, after = self._inbox, self.after
        while inbox:
            served, message = inbox.popleft()
            try:
                served.deliver(message)
            except Exception:  # noqa: BLE001 - a defect of ours; the others go on
                _tell_defect(served.deliver)
            if after is not None and not after():
                return False
        while self._more:
            port = self._more.pop().port
            if port.fd in self._ports:
                self._go_on(port.fd, port.rest_s())  # known only now: what came may change it
        return True

    def _deliver_in_turn(self) -> bool:
        """For ``TURN_S`` at most: somebody else's may have come meanwhile."""
        lines, after = self._lines, self.after
        if not lines.count:
            return True
        until = self.clock() + TURN_S
        while lines.count:
            served, message = lines.take()
            try:
                served.deliver(message)
            except Exception:  # noqa: BLE001 - a defect of ours; the others go on
                _tell_defect(served.deliver)
            if after is not None and not after():
                return False
            if self.clock() >= until:
                break
        return True

    @property
    def backlog(self) -> int:
        """How many messages have come and wait."""
        return len(self._inbox) + self._lines.count

    def is_behind(self, port: AnyPort) -> bool:
        """Whether something may have come by that port that was not delivered yet."""
        if port.fd in self._hot:
            return True
        served = self._ports.get(port.fd)
        return any(each[0] is served for each in itertools.chain(self._inbox, self._lines))

    def _go_on(self, fd: int, rest_s: float) -> None:
        """More is waiting at a port: have it in the next turn, or after a rest."""
        before = self._resting.pop(fd, None)
        if before is not None:
            before.cancel()
        if rest_s:
            self._hot.discard(fd)  # whoever answered meanwhile saw what is left to rest
            self._resting[fd] = self.later(rest_s, lambda: self._hot.add(fd))
        else:
            self._hot.add(fd)

    def was_held_up(self, seconds: float) -> bool:
        """Whether this process worked for most of the last ``seconds`` since the loop last slept.

        Then it is no wonder that the loop comes late: other threads, or code that holds Python's
        lock, used the time. A process that was stopped used none.
        """
        return time.process_time() - self._cpu_before > seconds / 2

    def _wait(self) -> float:
        if self._hot or self._soon or self._lines.count:
            return 0
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return -1
        return max(0.0, self._timers[0][0] - self.clock())

    def _run_timers(self) -> None:
        now = self.clock()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                _done(timer.action)

    def _run_signals(self, fd: int) -> None:
        for number in os.read(fd, 4096):
            action = self._on_signal.get(number)
            if action is not None:  # others may have handlers of their own
                _done(action)


def _done(action: Callable[..., None], *args: Any) -> bool:
    """Do it; False if it raised."""
    try:
        action(*args)
    except Exception:  # noqa: BLE001 - as above
        _tell_defect(action)
        return False
    return True


def _tell_defect(action: Callable[..., None]) -> None:
    import logging  # a worker whose loop has no defect needs none

    log = logging.getLogger("agentd.transport")
    log.exception("a defect: %r failed", action, extra={"action": "defect"})
