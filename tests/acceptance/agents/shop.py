"""Agents for a daemon that is started with ``--path`` and this folder: they fail on demand."""

import os
import sys
import threading
import time
from pathlib import Path

import agentd


class Stock(agentd.Agent):
    def __init__(self, start=0, *rest, step=1, **more):
        self.count = start
        self.given = [start, *rest, {"step": step, **more}]
        print("in stock:", start)

    def add(self, n=None):
        self.count += 1 if n is None else n
        return self.count

    def echo(self, *args, **kwargs):
        return [list(args), kwargs]

    def say(self, text):
        print(text)
        print(f"err: {text}", file=sys.stderr)

    def seven(self):
        return {7}

    def me(self):
        return self

    def pid(self):
        return os.getpid()

    def sleep_until(self, file):
        print("good night")
        while not Path(file).exists():
            time.sleep(0.02)
        return "rested"

    def nap(self, seconds):
        print("good night")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:  # in steps: a sleeping thread hears nothing
            time.sleep(0.02)
        return "rested"

    @agentd.async_func
    def later(self):
        return "came later"

    def fail(self, text):
        raise ValueError(text)

    def tell(self, *items, wait_for=None, then=None):
        """Its items; before the last one waits for a file; ``then`` is the way it ends."""
        try:
            for number, item in enumerate(items, 1):
                while wait_for and number == len(items) and not Path(wait_for).exists():
                    time.sleep(0.02)
                yield {item} if then == "as sets" else item
            if then == "fail":
                raise ValueError("no \x1b[31m\nmore")
            if then == "die":
                os._exit(3)
        finally:
            print("the stream is closed")

    def listed(self):
        return ["one", "two"]

    def die(self, code):
        print("last words", file=sys.stderr)
        os._exit(code)

    def die_loudly(self):
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        os._exit(1)


class Broken(agentd.Agent):
    def __init__(self):
        print("trying")
        raise RuntimeError("no \x1b[31mstock\nat all")


class Slow(agentd.Agent):
    def __init__(self, seconds):
        time.sleep(seconds)
