"""An executor and calls that do what a test tells them to."""

import heapq
import itertools
from collections import deque


class Later:
    """An executor that runs when told to, in this thread."""

    def __init__(self):
        self.tasks = deque()

    def submit(self, task):
        self.tasks.append(task)

    def run(self):
        while self.tasks:
            self.tasks.popleft()()


class Call:
    """An item of the turns that notes what became of it."""

    def __init__(self, name="", *, who="one", readonly=False, on_loop=False, chain=(), does=None):
        self.name = name
        self.who = who
        self.readonly = readonly
        self.on_loop = on_loop
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
        heapq.heappush(self._timers, (self.now + seconds, next(self._numbers), action))

    def advance(self, seconds):
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            self.now, _number, action = heapq.heappop(self._timers)
            action()
        self.now = until
