"""Executors, calls, and a worker without sockets, that do what a test tells them to."""

import heapq
import itertools
import threading
from collections import deque

from agentd import serialization
from agentd.client import references
from agentd.protocol.messages import Call as CallMessage
from agentd.transport.loop import Timer
from agentd.worker.hosted import Hosted
from agentd.worker.outcomes import Outcomes
from agentd.worker.phases import StreamState
from agentd.worker.references import HostReferences
from agentd.worker.streams import Streams
from agentd.worker.terms import OWN
from agentd.worker.turns import TurnOptions

LONG_S = 20
NOWHERE = HostReferences("ipc:///no/where", {})


class Later:
    """An executor that runs when told to, in this thread."""

    def __init__(self):
        self.tasks = deque()
        self.quick = []

    def submit(self, task, *, quick=False):
        self.tasks.append(task)
        self.quick.append(quick)

    def run(self):
        while self.tasks:
            self.tasks.popleft()()


class Call:
    """An item of the turns that notes what became of it."""

    def __init__(self, name="", *, who="one", readonly=False, on_loop=False, chain=(), does=None):
        self.name = name
        self.who = who
        self.guests = {who}
        self.readonly = readonly
        self.on_loop = on_loop
        self.quick = False
        self.ended = False
        self.chain = chain
        self.does = does
        self.ran = 0
        self.refused = None
        self.interrupted = 0
        self.given_up = None
        self.done = None

    def run(self):
        self.ran += 1
        if self.does is not None:
            self.does()

    def accepted(self):
        assert self.ran == 0

    def begin(self, done):
        self.ran += 1
        self.done = done

    def refuse(self, error):
        assert self.refused is None
        self.refused = error

    def interrupt(self):
        self.interrupted += 1

    def give_up(self, error):
        self.given_up = error

    def __repr__(self):
        return f"<call {self.name}>"


class Clock:
    """Time that passes when told to, and what is to be done by then."""

    def __init__(self):
        self.now = 0.0
        self._timers = []
        self._numbers = itertools.count()

    def __call__(self):
        return self.now

    def later(self, seconds, action):
        timer = Timer(action)
        heapq.heappush(self._timers, (self.now + seconds, next(self._numbers), timer))
        return timer

    @property
    def timers(self):
        """How many are to come."""
        return sum(not timer.cancelled for _at, _number, timer in self._timers)

    def advance(self, seconds):
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            self.now, _number, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.action()
        self.now = until


class Threads(Later):
    """Runs its tasks on threads, one step at a time: a step ends at a ``gate`` or with the task."""

    def __init__(self):
        super().__init__()
        self._rests = threading.Semaphore(0)

    def step(self):
        """Start the next task, until it rests."""
        task = self.tasks.popleft()

        def work():
            try:
                task()
            finally:
                self.rest()

        threading.Thread(target=work, daemon=True).start()
        self.until_rest()

    def rest(self):
        """Told by a task: it stands still until somebody tells it to go on."""
        self._rests.release()

    def until_rest(self):
        """Wait until what goes on rests."""
        assert self._rests.acquire(timeout=LONG_S), "it neither rests nor ends"


class Gate:
    """Where the agent's code waits to be told how to go on."""

    def __init__(self, threads):
        self._threads = threads
        self._told = threading.Semaphore(0)
        self._how = deque()
        self.waits = False

    def wait(self):
        """What ``open`` was told."""
        self.waits = True
        self._threads.rest()
        assert self._told.acquire(timeout=LONG_S), "the gate stays closed"
        return self._how.popleft()

    def open(self, how=None):
        """Let it go on, until it rests again."""
        assert self.waits
        self.waits = False
        self._how.append(how)
        self._told.release()
        self._threads.until_rest()


class Source:
    """Where answers go; ``gone``: nobody is there any more."""

    own = False

    def __init__(self, who="one"):
        self.who = who
        self.sent = []
        self.left = []
        self.gone = False

    def leave(self, number):
        self.left.append(number)

    def answer(self, message, payload=()):
        if self.gone:
            return False
        self.sent.append((message, list(payload)))
        return True

    def answers(self, number):
        """The messages to one request."""
        return [message for message, _payload in self.sent if message.id == number]

    def payloads(self, number):
        return [payload for message, payload in self.sent if message.id == number]


class Loop(Clock):
    """The loop of a worker, whose time is told."""

    def clock(self):
        return self.now


class Recorder:
    """Counts what runs."""

    def __init__(self):
        self.running = 0

    def enter(self, _agent):
        self.running += 1
        return self.running

    def leave(self, _slot):
        self.running -= 1


class Host:
    """What calls and streams need of a worker, around one agent."""

    grace_s = 10.0

    def gives_way(self):
        """Nobody wants the thread."""

    def __init__(self, agent, executor, **options):
        self.loop = Loop()
        self.references = self
        self.recorder = Recorder()
        self.outcomes = Outcomes(self.loop.later, self.loop.clock)
        self.streams = Streams(self.loop.later)
        self._look_after = self.streams.look_after
        self.streams.look_after = self._rests
        self._executor = executor
        self.needs = []
        self.ended = []
        self.hosted = Hosted(b"a" * 16, 1, "m:C", executor, TurnOptions(**options), NOWHERE)
        self.hosted.adopt(agent)

    def _rests(self, stream):
        """A stream is to be looked after: mostly as its producer comes to rest."""
        self._look_after(stream)
        if stream._stage is StreamState.STALLED:
            self._executor.rest()

    def resolving(self, _found, _terms):
        return references.active()

    def on_terms(self, _terms):
        return references.active()

    def terms(self, _source, _call):
        return OWN

    def fetch_needs(self, _needs, have):
        self.needs.append(have)

    def call_ended(self, call):
        self.ended.append(call)


def message(number, op, name, *args, **fields):
    """A call of ``agent.name(*args)`` and its payload."""
    encoded = serialization.encode((args, {}))
    key = fields.pop("key", number.to_bytes(24, "big"))
    call = CallMessage(number, b"a" * 16, 1, op, name, encoded.codec, key, **fields)
    return call, [encoded.head, *encoded.buffers]
