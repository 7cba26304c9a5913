"""Calls that come to a worker: in time, with room for them, each once; and which are open."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from agentd.client.fetching import Found, Outcome, fetch_all
from agentd.errors import AgentdError, CallTimeout, Draining, ProtocolError, TooLate
from agentd.ids import show
from agentd.protocol import Lateness, error_message
from agentd.protocol.messages import Call, Cancel, Fetch, Keep, Release
from agentd.transport.localport import LocalPort
from agentd.transport.localrouter import LocalRouter
from agentd.transport.loop import Loop
from agentd.transport.origin import Address
from agentd.transport.recorder import Recorder
from agentd.worker.calls import OpenCall, OpenWatch
from agentd.worker.executor import Executor
from agentd.worker.hosted import Hosted
from agentd.worker.outcomes import Outcomes
from agentd.worker.references import HostReferences
from agentd.worker.sent import Sent
from agentd.worker.settings import Settings
from agentd.worker.source import Source
from agentd.worker.streams import KEEP_S, OpenStream, Streams
from agentd.worker.terms import OWN, Terms

__all__ = ["Desk"]

LATE_S = 0.1
"""A call older than that on arrival has its time left corrected: clocks are known that well."""
HOLD_S = 0.02
"""How long such a call waits for what its caller may have sent after it: that it is given up."""
OVERTAKING = 4096
"""So many calls that came by another way first are remembered."""


class Desk:
    """The calls of one worker, and what they need of it."""

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        front: LocalRouter,
        back: LocalPort,
        recorder: Recorder,
        executor: Executor,
        references: HostReferences,
        later: Callable[[float, Callable[[], None]], None],
        gives_way: Callable[[], None],
        drained: Callable[[], None],
    ) -> None:
        """``later``: ``loop.later``, from any thread. ``gives_way``: see ``Host``.

        ``drained``: called when no calls are open any more, after ``drain``.
        """
        self.loop = loop
        self.recorder = recorder
        self.references = references
        self.gives_way = gives_way
        self.outcomes = Outcomes(later)
        self.sent = Sent(front.has_read, self.outcomes.arrived)
        self.streams = Streams(later)
        self.grace_s = min(settings.grace_s, KEEP_S)
        """For so long a stream keeps its turn though nobody reads it: a reader may come back."""
        self._safe = settings.safe
        self._back = back
        self._executor = executor
        self._drained = drained
        self._lateness = Lateness(settings.heartbeat_s, loop.was_held_up)
        self.draining = False
        """Whether new calls are refused."""
        self._held: dict[Address, list[OpenCall]] = {}
        """By who asked: what came late, and what came after it."""
        self._overtaking: dict[bytes, None] = {}
        """Keys of calls that were first heard of when they were asked for again."""
        self._lock = threading.Lock()  # protects the two below
        self._open: dict[OpenCall, None] = {}
        self._by_key: dict[bytes, OpenCall] = {}

    def accept(self, hosted: Hosted, source: Source, call: Call, payload: list[Any]) -> None:
        """A call has come; raises if it cannot be taken."""
        hosted.check_takes_calls(call.epoch)
        if self.draining and not call.chain:
            # A call on behalf of one that is still open is part of finishing that one.
            raise Draining("the daemon is stopping and takes no new calls", agent=show(call.agent))
        if call.hold and not call.key:
            raise ProtocolError("a call whose outcome is to be held has a key")
        if call.again and call.key and self._known_already(source, call):
            return
        if not source.own:
            self._check_not_overtaken(call)
        now = self.loop.clock()
        if call.timeout is not None or not self._lateness.is_timely(call.at, now):
            call = self._in_time(source, call, now)
        if call.hold and not self.outcomes.expect(call.key):
            # The same call once more (``options(key=)``): it is not run again.
            self.outcomes.fetch(call.key, partial(_pass_on, source, call.id))
            return
        opened = self._made(hosted, source, call, payload)
        with self._lock:
            if call.op != "watch":  # it has no end that could be waited for
                self._open[opened] = None
            if call.key:
                self._by_key[call.key] = opened
        held = self._held.get(source.who) if self._held else None
        if held is None and not (call.at and now - call.at > LATE_S):
            opened.enter()
            return
        # It was under way for so long that its cancellation may have come with it. What comes
        # from there meanwhile stays behind it.
        if held is None:
            held = self._held[source.who] = []
            self.loop.later(HOLD_S, partial(self._enter_held, source.who))
        held.append(opened)

    def _made(self, hosted: Hosted, source: Source, call: Call, payload: list[Any]) -> OpenCall:
        if call.op == "watch":
            return OpenWatch(self, hosted, source, call, payload)
        if call.op == "stream":
            stream = OpenStream(self, hosted, source, call, payload)
            self.streams.add(stream)
            return stream
        return OpenCall(self, hosted, source, call, payload)

    def _enter_held(self, who: Address) -> None:
        for opened in self._held.pop(who):
            if not opened.answered:
                opened.enter()

    def terms(self, source: Source, call: Call) -> Terms:
        """On what terms the call is read and answered."""
        if source.own and not call.plain and not self._safe:
            return OWN
        return Terms.of(call.by, plain=call.plain, direct=source.own, safe=self._safe)

    def is_late(self, source: Source, at: float, now: float) -> bool:
        """Whether what was sent ``at`` that time comes so late that it may have been given up."""
        if self._lateness.is_timely(at, now):
            return False
        # What the daemon relays it has found in time; then it may be late as a whole.
        who = self._back.fd if source.port is self._back else source.who
        return self._lateness.is_late(who, at, now)

    def _in_time(self, source: Source, call: Call, now: float) -> Call:
        """The call, with what is left of its time; raises if it comes too late."""
        if self.is_late(source, call.at, now):
            raise TooLate(
                f"the call of {call.name!r} came so late that its caller may have given it up; "
                "it was not started"
            )
        if call.timeout is None or not call.at:
            return call
        age = now - call.at
        if age < min(LATE_S, call.timeout):
            return call
        if age >= call.timeout:
            raise CallTimeout(
                f"{call.name} was not started: it came {age - call.timeout:.3g} s after its "
                "deadline",
                agent=show(call.agent),
                method=call.name,
                timeout=call.timeout,
            )
        return call.changed(timeout=call.timeout - age)

    def _known_already(self, source: Source, call: Call) -> bool:
        """The call was sent before, over a connection that broke: has it come? Then answer."""
        if call.op == "stream" and self.streams.again(source, call):
            return True
        opened = self._call(call.key)
        if opened is not None and opened.redirect(source, call.id):
            return True
        outcome = self.outcomes.recall(call.key)
        if outcome is None:
            return False
        _pass_on(source, call.id, outcome)
        return True

    def _check_not_overtaken(self, call: Call) -> None:
        """Raise ``TooLate`` for a call that was asked again by another way, and came first by that.

        By the daemon, that is, or over the network. It is told once: who sends a call anew, as it
        failed, may do so.
        """
        if call.again and call.key:
            self._overtaking[call.key] = None
            while len(self._overtaking) > OVERTAKING:
                del self._overtaking[next(iter(self._overtaking))]
        elif call.key in self._overtaking:
            del self._overtaking[call.key]
            raise TooLate(
                f"the call of {call.name!r} came after it had been asked for again; it was not "
                "started once more"
            )

    def call_ended(self, call: OpenCall) -> None:
        """It has been answered. From any thread."""
        with self._lock:
            self._open.pop(call, None)
            if self._by_key.get(call.call.key) is call:  # not a later one with its key
                del self._by_key[call.call.key]
            drained = self.draining and not self._open
        if drained:
            self._drained()

    def told(self, message: Cancel | Keep | Release) -> None:
        """What the maker of a call does not want (any more)."""
        match message:
            case Cancel():
                call = self._call(message.key)
                if call is not None:
                    call.cancel()
            case Keep():
                for key in message.keys:
                    call = self._call(key)
                    if call is not None:
                        call.handed_on = True
            case Release():
                self.outcomes.release(*message.keys)

    def _call(self, key: bytes) -> OpenCall | None:
        with self._lock:
            return self._by_key.get(key)

    def fetch(self, source: Source, message: Fetch) -> None:
        """Answer with the outcome of a call, when it is there."""
        self.outcomes.fetch(message.key, partial(_pass_on, source, message.id))

    def fetch_needs(self, needs: list[Any], have: Callable[[Found], None]) -> None:
        """Get the outcomes that a payload refers to, wherever they are; ``have`` is called once.

        With all of them by key; or, at the first that failed, with that failure.
        """
        # Not in the loop's thread: finding an agent and meeting its worker take answers, from a
        # worker whose own loop might do just the same.
        self._executor.submit(partial(fetch_all, needs, have))

    def drain(self) -> None:
        """Take no new calls, and tell when the open ones have ended."""
        self.draining = True
        with self._lock:
            drained = not self._open
        if drained:
            self._drained()


def _pass_on(source: Source, number: int, outcome: Outcome | AgentdError) -> None:
    """Answer a question with an outcome."""
    if isinstance(outcome, AgentdError):
        source.answer(error_message(number, outcome))
    else:
        answer, payload = outcome
        source.answer(answer.renumbered(number), list(payload))
        source.leave(number)  # that a one-way call was accepted is its end here, for once
