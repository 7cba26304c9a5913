"""A daemon with a door for each role, and the agents behind it.

Each door is a socket of its own, and who comes by it is told by its number: as authentication would
tell it. The agents are imported by the workers.
"""

import dataclasses
import datetime
import os
import sys
import threading

import agentd

ROLES = ("observer", "caller", "operator", "submitter", "deployer", "admin")
DOORS = ("own", *ROLES, "second", "nobody", "chief")
"""``second`` is another caller with the same grant, ``chief`` an operator for all agents."""


def endpoint(folder, door):
    return f"ipc://{folder}/{door}.sock"


@dataclasses.dataclass
class Order:
    """What callers may send: it checks itself."""

    item: str
    count: int = 1
    made: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        if self.count < 1:
            raise ValueError("at least one")


class NotForYou(Exception):
    def __init__(self, who, *, when):
        super().__init__(f"{who} at {when}")
        self.who = who
        self.when = when


class Clerk:
    """Does what callers may ask, and has what they may not."""

    def __init__(self, name="nobody", secret="hidden"):
        self.name = name
        self.secret = secret
        self.hook = self.reveal
        self.calls = []

    def echo(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        return args[0] if len(args) == 1 and not kwargs else [list(args), kwargs]

    def kind(self, value):
        return f"{type(value).__module__}.{type(value).__qualname__}"

    def reveal(self):
        return self.secret

    def items(self, n):
        yield from range(n)

    def numbers(self, n):
        return (number for number in range(n))

    def thing(self):
        """What is no plain data."""
        return threading.Event

    def things(self):
        yield 1
        yield threading.Event

    def order(self, item, count):
        return Order(item, count)

    def fails(self, who):
        try:
            raise KeyError(who)
        except KeyError as error:
            raise NotForYou(who, when=datetime.date(2026, 1, 1)) from error

    def rest(self, seconds):
        threading.Event().wait(seconds)
        return "rested"

    def loads(self, data):
        import pickle

        return repr(pickle.loads(data))

    def exits(self):
        print("a secret in the log", file=sys.stderr, flush=True)
        os._exit(3)

    def __len__(self):
        return 7


class Shy:
    """Says itself what may be called."""

    def __init__(self):
        self.value = 1

    @agentd.expose
    def said(self):
        return "said"

    def kept(self):
        return "kept"

    def __len__(self):
        return 7


def serve(folder):
    """Until it is stopped."""
    from agentd.config import ServerConfig
    from agentd.protocol.access import Grant, Role
    from agentd.server.daemon import Daemon
    from agentd.transport import guard

    grants = {
        f"key:{role}": Grant(
            f"key:{role}", role, frozenset({Role(role)}), ("listed*",), ("e*", "items", "thing*")
        )
        for role in ROLES
    }
    grants["key:second"] = dataclasses.replace(grants["key:caller"], who="key:second")
    grants["key:chief"] = dataclasses.replace(
        grants["key:operator"], who="key:chief", agents=("*",)
    )
    guard.refuse_pickles("it is the daemon")
    config = ServerConfig(
        bind=tuple(endpoint(folder, door) for door in DOORS),
        workers=1,
        heartbeat_s=0.2,
        client_grace_s=60.0,
        specs={"clerk": "tests.integration.gatekeeping:Clerk"},
    )
    daemon = Daemon(config)
    of_files = daemon._book.grant_of
    daemon._book.grant_of = lambda who: of_files(who) or grants.get(who)

    def ready(_endpoint):
        """As an authenticator would tell who comes: here it is told by the door."""
        for door, front in zip(DOORS, daemon._fronts.ports, strict=True):
            if door != "own":
                front._who = lambda _frame, who=f"key:{door}": (who, who)

    daemon.run(ready)


if __name__ == "__main__":
    serve(sys.argv[1])
