"""A daemon of plain dicts, behind the client's interface that agentctl uses."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from agentd.errors import AgentNotFound, CallTimeout

ENDPOINT = "ipc:///run/test/agentd.sock"
TALLY = {
    "id": "0123456789abcdef0123456789abcdef",
    "name": "tally",
    "cls": "shop.stock:Counter",
    "state": "ready",
    "lifetime": "daemon",
    "worker": "w1",
    "pid": 4242,
    "epoch": 1,
    "restarts": 0,
    "created_at": 1_700_000_000.0,
    "owner": None,
}
EVIL = TALLY | {
    "id": "f" * 32,
    "name": "\x1b]0;owned\x07",
    "cls": "evil:\u202eeman",
    "state": "restarting",
    "worker": None,
    "pid": None,
    "restarts": 3,
}
INFO = {
    "daemon": "d" * 32,
    "endpoint": ENDPOINT,
    "pid": 4200,
    "version": "0.1.0",
    "python": "3.11.7",
    "uptime_s": 3723.4,
    "agents": 2,
    "workers": [
        {"id": "w1", "pid": 4242, "state": "ready", "agents": 2, "restarts": 0},
        {"id": "w2", "pid": None, "state": "backoff", "agents": 0, "restarts": 4},
    ],
    "sessions": 1,
}


class Method:
    """What a proxy gives for a method's name."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(self.function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def options(self, *, timeout: float | None) -> "Method":
        self.timeout = timeout
        return self

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return self.function(*args, **kwargs)


def _fail(text: str) -> Any:
    error = ValueError(text)
    error.add_note("Remote traceback (most recent call last):\n  in fail")
    raise error


class Proxy:
    """An agent; ``shelf`` is an attribute, the rest are methods."""

    shelf = {"apples": 3}
    add = Method(lambda *args, **kwargs: {"args": list(args), "kwargs": kwargs})
    opaque = Method(lambda: {1, 2})
    words = Method(lambda: "two\twords\x1b[31m")
    fail = Method(_fail)

    def __init__(self, fake: "FakeAgentd") -> None:
        def items(*found: Any) -> Iterator[Any]:
            """Those that are given; 'fail', 'late' and 'ctrl-c' are what they say."""
            try:
                for item in found:
                    if item == "fail":
                        _fail("no more")
                    if item == "late":
                        raise CallTimeout("not done", agent=TALLY["id"])
                    if item == "ctrl-c":
                        raise KeyboardInterrupt
                    yield {1} if item == "opaque" else item
            finally:
                fake.calls.append(("stream closed",))

        self.items = Method(items)

    class never:
        submit = staticmethod(Future)


class Handle:
    id, name = TALLY["id"], TALLY["name"]

    def __init__(self, fake: "FakeAgentd") -> None:
        self.fake = fake

    def wait(self, timeout: float | None = None) -> None:
        self.fake.calls.append(("wait", timeout))
        if self.fake.wait_error:
            raise self.fake.wait_error


class FakeAgentd:
    """The module and its client in one; notes what was asked."""

    endpoint = ENDPOINT

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error: BaseException | None = None
        self.wait_error: BaseException | None = None
        self.found: list[dict[str, Any]] = [TALLY]
        self.pages: list[dict[str, Any]] = []
        self.closed = 0

    # -- the module ------------------------------------------------------------

    def connect(self, endpoint: str | None = None, *, embedded: bool = False) -> "FakeAgentd":
        assert embedded is False
        self.calls.append(("connect", endpoint))
        if self.error:
            raise self.error
        return self

    def handle(self, proxy: Any) -> Handle:
        return Handle(self)

    # -- the client ------------------------------------------------------------

    def __enter__(self) -> "FakeAgentd":
        return self

    def __exit__(self, *exc: object) -> None:
        self.closed += 1

    def info(self) -> dict[str, Any]:
        return INFO

    def agents(self) -> list[dict[str, Any]]:
        return self.found

    def inspect(self, ref: str) -> dict[str, Any]:
        self._find(ref)
        return TALLY | {"methods": {"add": {}, "ask": {"async": True}}, "options": {}}

    def create(self, path: str, /, *args: Any, **kwargs: Any) -> Proxy:
        self.calls.append(("create", path, args, kwargs))
        return Proxy(self)

    def get(self, ref: str) -> Proxy:
        self._find(ref)
        return Proxy(self)

    def logs(self, ref: str, after: int = 0, wait: float = 0.0) -> dict[str, Any]:
        self._find(ref)
        self.calls.append(("logs", ref, after, wait))
        return self.pages.pop(0)

    def delete(self, *refs: str) -> list[str]:
        self.calls.append(("delete", *refs))
        return [self._find(ref)["id"] for ref in refs]

    def ping(self) -> float:
        return 0.00042

    def stop(self) -> None:
        self.calls.append(("stop",))

    def _find(self, ref: str) -> dict[str, Any]:
        if ref not in ("tally", TALLY["id"]):
            ended = TALLY["id"] if ref == "ended" else None
            raise AgentNotFound(f"no agent {ref} here", agent=ended)
        return TALLY
