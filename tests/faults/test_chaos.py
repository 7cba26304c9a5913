"""Networks that fail in every way: calls run once or not at all, and nobody waits for ever."""

import asyncio
import contextlib
import fcntl
import importlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import agentd
from agentd.client.proxy import session_of, target
from agentd.errors import (
    AgentNotFound,
    CallTimeout,
    ConnectionLost,
    OutcomeUnknown,
    TransportError,
)
from tests.faults.chaos import WAYS, Proxy
from tests.faults.harness import LONG_S, ROUNDS, Daemon, Thread, dice, measured, pause, wait_until

BEAT_S = 0.5
ROOM_S = 2.0
"""For a busy machine."""
TOLD_S = 3 * BEAT_S + ROOM_S
MET_S = 3.0 + ROOM_S
"""As long, for those who have yet to meet the server and do not know how often its heart beats."""
LEDGER = "tests.faults.ledger:Ledger"
PATHS = ["relay", "direct"]
STILL_WAITING = "still waiting"


class Hanging(Daemon):
    """A daemon whose loop hangs from SIGUSR2 on, until its file ``hang.lock`` is free."""

    PROGRAM = (
        "import ast, fcntl, signal, sys\n"
        "lock = open(ast.literal_eval(sys.argv[1])['run_dir'] + '/hang.lock', 'a')\n"
        "signal.signal(signal.SIGUSR2, lambda *_: fcntl.flock(lock, fcntl.LOCK_EX))\n"
    ) + Daemon.PROGRAM


class Road:
    """An agent, and a faulty way to it: over the daemon, which relays, or straight to the worker.

    ``agent`` goes this way; ``witness`` is the same agent, reached without faults.
    """

    def __init__(self, daemon: Daemon, path: str, **options: Any) -> None:
        self.daemon, self.path = daemon, path
        self._file = f"{daemon.folder}/hang.lock"
        self.relayed = path == "relay"
        sound = agentd.connect(daemon.endpoint, direct=self.relayed)
        self.witness = sound.create(LEDGER, options={"max_concurrency": 64, **options})
        self.pid = self.witness.pid()
        listen, to = f"{daemon.folder}/proxy", f"{daemon.folder}/s"
        if not self.relayed:
            aim = target(self.witness)
            listen = session_of(aim).places.of(aim.agent).address.removeprefix("unix://")
            to = f"{listen}.real"
            Path(listen).rename(to)
        self.proxy = Proxy(listen, to)

    def __enter__(self) -> "Road":
        self.proxy.__enter__()
        endpoint = f"ipc://{self.proxy.listen}" if self.relayed else self.daemon.endpoint
        self.client = agentd.connect(endpoint, direct=not self.relayed)
        self.agent = self.client.get(agentd.handle(self.witness).id)
        self.agent.pid()
        assert self.proxy.bytes["up"], "the calls go another way"
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.__exit__()

    def hang(self) -> Callable[[], None]:
        """Have the interpreter of the worker hang until the result is called."""
        free = self._lock()
        self._hanging = self.witness.hang.submit(self._file)
        wait_until(Path(f"{self._file}.hangs").exists, "the worker to hang")
        return free

    def hang_daemon(self) -> Callable[[], None]:
        """Have the loop of the daemon hang until the result is called."""
        free = self._lock()
        self.daemon.signal(signal.SIGUSR2)
        return free

    def _lock(self) -> Callable[[], None]:
        lock = os.open(self._file, os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return partial(os.close, lock)

    def arrived(self) -> None:
        """Wait until all that the proxy held has been forwarded."""
        wait_until(lambda: not self.proxy.held, "what was held to arrive")

    def works_again(self) -> None:
        """The proxy of the agent that could not be reached reaches it, after a while."""
        began = time.monotonic()

        def answers() -> bool:
            with contextlib.suppress(TransportError, OutcomeUnknown):
                return self.agent.pid() == self.pid
            return False

        wait_until(answers, "the same proxy to work again")
        measured(f"{self.path}: end of the fault to the first answer", time.monotonic() - began)


@pytest.fixture
def road() -> Iterator[Callable[..., Road]]:
    """``road(path)``: an agent and the way to it; the way ends before its daemon does."""
    with contextlib.ExitStack() as stack:

        def make(path: str, *, heartbeat_s: float = BEAT_S, **options: Any) -> Road:
            daemon = Hanging(workers=1, heartbeat_s=heartbeat_s, client_grace_s=60)
            stack.callback(daemon.end)
            return stack.enter_context(Road(daemon.start(), path, **options))

        yield make


def in_loop(make: Callable[[], Any]) -> Any:
    """What the awaitable that ``make`` gives comes to, in an event loop of its own."""

    async def wait() -> Any:
        return await make()

    return asyncio.run(wait())


async def items_of(stream: Any) -> list[Any]:
    return [item async for item in stream]


Form = Callable[..., Any]
FORMS: dict[str, Form] = {
    "blocking": lambda way, entry, s, **o: way.agent.slow.options(**o)(entry, s),
    "submit": lambda way, entry, s, **o: way.agent.slow.options(**o).submit(entry, s).result(),
    "aio": lambda way, entry, s, **o: in_loop(
        lambda: agentd.aio(way.agent).slow.options(**o)(entry, s)
    ),
    "stream": lambda way, entry, s, **o: list(way.agent.tell.options(**o).stream(entry, 5, s / 5)),
    "aio stream": lambda way, entry, s, **o: in_loop(
        lambda: items_of(agentd.aio(way.agent).tell.options(**o).stream(entry, 5, s / 5))
    ),
}
"""Each makes a call that notes ``entry`` and takes ``s`` seconds."""
ONE_WAY: dict[str, Form] = {
    "oneway": lambda way, entry, s, **o: way.agent.slow.options(**o).oneway(entry, s)
}
QUESTIONS: dict[str, Form] = {
    "ask": lambda way, *_: way.client.agents(),
    "ping": lambda way, *_: way.client.ping(),
    "get": lambda way, *_: way.client.get(agentd.handle(way.witness).id),
    "create": lambda way, *_: agentd.handle(way.client.create(LEDGER)).wait(),
    "create by name": lambda way, *_: way.client.create(LEDGER, options={"name": "given up"}),
}
"""To the daemon itself."""


class Calls:
    """A call in each form, all at once; each with its own entry."""

    def __init__(
        self, way: Road, what: str, s: float = 0.0, forms: dict[str, Form] = FORMS, **options: Any
    ) -> None:
        self.way = way
        self.entries = [f"{what}: {form}" for form in forms]
        self.threads = {
            form: Thread(partial(make, way, f"{what}: {form}", s, **options))
            for form, make in forms.items()
        }

    def begun(self) -> "Calls":
        """As soon as all of them run."""
        wait_until(lambda: set(self.entries) <= set(self.way.witness.begun), "all calls to run")
        return self

    def outcomes(self, limit: float = LONG_S) -> dict[str, Any]:
        """What they came to, by form."""
        until = time.monotonic() + limit
        for thread in self.threads.values():
            thread.join(max(0.0, until - time.monotonic()))
        return {
            form: STILL_WAITING if thread.is_alive() else thread.outcome
            for form, thread in self.threads.items()
        }

    def untold(self, *told: type[BaseException], limit: float = TOLD_S) -> dict[str, Any]:
        """Those that did not fail with one of these errors in time, and what came instead."""
        return {
            form: found
            for form, found in self.outcomes(limit).items()
            if not (isinstance(found, told) and is_public(found))
        }

    def values(self) -> dict[str, Any]:
        """What the outcomes are if all goes well."""
        return {
            form: [0, 1, 2, 3, 4] if "stream" in form else entry
            for form, entry in zip(self.threads, self.entries, strict=True)
        }

    def times_run(self) -> list[int]:
        """How often each of them was carried out."""
        counted = Counter(self.way.witness.begun)
        return [counted[entry] for entry in self.entries]


def is_public(error: BaseException) -> bool:
    """Whether it is one that users know."""
    return vars(agentd.errors).get(type(error).__name__) is type(error)


def stop(pid: int) -> Callable[[], None]:
    """Stop a process until the result is called."""
    pause(pid)
    return partial(os.kill, pid, signal.SIGCONT)


def gone(way: Road) -> Callable[[], None]:
    way.proxy.refuse()
    way.proxy.reset()
    return way.proxy.heal


def stalled(*ways: Any) -> Callable[[Road], Callable[[], None]]:
    def begin(way: Road) -> Callable[[], None]:
        way.proxy.stall(*ways)
        return way.proxy.heal

    return begin


SILENCES: dict[str, Callable[[Road], Callable[[], None]]] = {
    "nobody listens": gone,
    "nothing arrives": stalled("up"),
    "nothing comes back": stalled("down"),
    "nothing passes": stalled(),
    "the daemon is stopped": lambda way: stop(way.daemon.process.pid),
    "the daemon hangs": Road.hang_daemon,
    "the worker is stopped": lambda way: stop(way.pid),
    "the worker hangs": Road.hang,
}
"""Each begins, and gives what ends it."""


def cases(default: str, slow: str = "") -> list[Any]:
    """Parameters ``path, silence``, written ``path: silence`` and one a line."""
    return [
        pytest.param(*line.strip().split(": "), marks=marks)
        for lines, marks in ((default, ()), (slow, pytest.mark.slow))
        for line in lines.splitlines()
    ]


SILENT = cases(
    """relay: nobody listens
    relay: nothing comes back
    relay: the daemon is stopped
    relay: the worker is stopped
    direct: the worker is stopped""",
    """relay: nothing arrives
    relay: nothing passes
    relay: the daemon hangs
    relay: the worker hangs
    direct: the worker hangs""",
)


@pytest.mark.parametrize(("path", "silence"), SILENT)
def test_silence_is_told_in_three_heartbeats_and_forgotten_when_it_ends(road, path, silence):
    # Given
    way = road(path)
    running = Calls(way, "running", LONG_S).begun()
    # When
    began = time.monotonic()
    end = SILENCES[silence](way)
    try:
        asked = Calls(way, "asked", 0, FORMS | ONE_WAY)
        # Then
        assert running.untold(ConnectionLost, OutcomeUnknown) == {}
        measured(f"{path}: {silence}: to the errors of running calls", time.monotonic() - began)
        assert asked.untold(TransportError, OutcomeUnknown) == {}
    finally:
        end()
    way.works_again()
    assert running.times_run() == [1] * len(FORMS)
    assert max(asked.times_run()) <= 1


@pytest.mark.parametrize(
    ("path", "silence"),
    cases(
        "direct: the worker is stopped",
        """relay: nothing arrives
        relay: the daemon is stopped""",
    ),
)
def test_calls_to_one_known_to_be_silent_are_told_so_too(road, path, silence):
    # Given
    way = road(path)
    end = SILENCES[silence](way)
    try:
        assert Calls(way, "first").untold(TransportError, OutcomeUnknown) == {}
        # When
        late = Calls(way, "late", 0, FORMS | ONE_WAY)
        # Then
        assert late.untold(TransportError, OutcomeUnknown, limit=MET_S) == {}
    finally:
        end()
    way.works_again()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "silence"),
    cases(
        """relay: nobody listens
        relay: nothing arrives
        relay: nothing comes back
        relay: the daemon is stopped
        relay: the daemon hangs"""
    ),
)
def test_questions_to_a_silent_daemon_are_told_in_three_heartbeats(road, path, silence):
    way = road(path)
    end = SILENCES[silence](way)
    try:
        assert Calls(way, "asked", 0, QUESTIONS).untold(TransportError) == {}
    finally:
        end()
    way.works_again()


@pytest.mark.parametrize(
    ("path", "silence"),
    cases("direct: nothing comes back", "direct: nothing arrives\ndirect: nothing passes"),
)
def test_where_the_way_to_a_worker_is_cut_calls_are_told_or_go_over_the_daemon(road, path, silence):
    # Given
    way = road(path)
    running = Calls(way, "running", 0.3).begun()
    # When
    end = SILENCES[silence](way)
    asked = Calls(way, "asked", 0, FORMS | ONE_WAY)
    try:
        for calls in (running, asked):
            # Both it and the daemon are asked before.
            for form, found in calls.outcomes(TOLD_S + ROOM_S).items():
                # Then
                well = found == (calls.values() | {"oneway": None})[form]
                told = isinstance(found, ConnectionLost | OutcomeUnknown) and is_public(found)
                assert well or told, f"{form}: {found!r}"
    finally:
        end()
    way.works_again()
    assert running.times_run() == [1] * len(FORMS)
    assert max(asked.times_run()) <= 1


@pytest.mark.parametrize("path", PATHS)
def test_what_becomes_ready_while_the_connection_is_broken_is_still_there(road, path):
    # Given
    way = road(path, heartbeat_s=3)
    calls = Calls(way, "running", 0.5).begun()
    # When
    way.proxy.stall()
    way.proxy.reset()
    ready = {entry for entry in calls.entries if "stream" not in entry}  # those wait for readers
    wait_until(lambda: ready <= set(way.witness.ended), "all results to be ready")
    way.proxy.heal()
    # Then
    assert calls.outcomes() == calls.values()
    assert calls.times_run() == [1] * len(FORMS)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("seconds", [0, LONG_S])
def test_a_oneway_call_whose_acceptance_was_lost_runs_once(road, path, seconds):
    # Given
    way = road(path)
    way.proxy.stall("down")
    call = Calls(way, "lost", seconds, ONE_WAY).begun()
    # When
    way.proxy.reset()
    way.proxy.heal()
    # Then
    assert call.outcomes() == {"oneway": None}
    assert call.times_run() == [1]


@pytest.mark.parametrize("path", PATHS)
def test_a_slow_network_does_no_harm(road, path):
    # Given
    way = road(path)
    connections = way.proxy.connections
    # When
    way.proxy.delay(BEAT_S / 2)
    calls = Calls(way, "slow", 2 * BEAT_S, FORMS | ONE_WAY)
    # Then
    assert calls.outcomes() == calls.values() | {"oneway": None}
    assert calls.times_run() == [1] * len(calls.entries)
    assert way.proxy.connections == connections, "connections were given up"


@pytest.mark.parametrize("path", PATHS)
def test_a_connection_that_closes_one_way_is_made_again(road, path):
    way = road(path)
    for closed in WAYS:
        calls = Calls(way, closed, 0.2).begun()
        way.proxy.half_close(closed)
        assert calls.outcomes() == calls.values()
        assert calls.times_run() == [1] * len(FORMS)


@contextlib.contextmanager
def resets(way: Road) -> Iterator[None]:
    """Connections break at random moments."""
    chance, over = dice(), threading.Event()

    def break_them() -> None:
        while not over.wait(chance.uniform(0.005, 0.15)):
            way.proxy.reset()

    breaker = Thread(break_them)
    try:
        yield
    finally:
        over.set()
        assert breaker.done() is None


@pytest.mark.parametrize("path", PATHS)
def test_resets_at_random_moments_run_each_call_once_and_in_order(road, path):
    # Given
    way = road(path, max_concurrency=1)
    callers, connections = range(3), way.proxy.connections

    def calls(me):
        """Until enough connections broke: how many do meanwhile is chance."""
        places = []
        while len(places) < 100 * ROUNDS or way.proxy.connections <= connections + 2:
            places.append(way.agent.add([me, len(places)]))
        return places

    # When
    with resets(way):
        threads = [Thread(lambda me=me: calls(me)) for me in callers]
        outcomes = [thread.done(LONG_S * ROUNDS) for thread in threads]
    # Then
    done = way.witness.begun
    for me, places in zip(callers, outcomes, strict=True):
        wanted = [[me, number] for number in range(len(places))]
        assert [entry for entry in done if entry[0] == me] == wanted
        assert [done[place - 1] for place in places] == wanted


@pytest.mark.parametrize("path", PATHS)
def test_resets_at_random_moments_run_each_submitted_call_once(road, path):
    way = road(path, max_concurrency=1)
    wanted = [[lot, number] for lot in range(5 * ROUNDS) for number in range(20)]
    found = []
    with resets(way):
        for lot in range(5 * ROUNDS):
            results = [way.agent.slow.submit([lot, number], 0.002) for number in range(20)]
            found += [result.result(LONG_S) for result in results]
    assert found == wanted
    assert sorted(way.witness.begun) == wanted


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_over_resets_at_random_moments_has_each_item_once(road, path):
    way = road(path)
    with resets(way):
        for number in range(2 * ROUNDS):
            assert list(way.agent.tell.stream(number, 200, 0.002)) == list(range(200))
    assert way.witness.begun == list(range(2 * ROUNDS))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("form", FORMS)
def test_a_call_survives_a_cut_after_any_byte(road, path, form):
    # Given
    way, chance = road(path), dice()
    for number in range(4 * ROUNDS):
        # When
        way.proxy.cut_after(chance.randrange(400), chance.choice(WAYS))
        if chance.random() < 0.5:
            way.proxy.reset()  # so that the cut may come in the handshake
        calls = Calls(way, f"{number}", 0, {form: FORMS[form]})
        # Then
        assert calls.outcomes() == calls.values()
        assert calls.times_run() == [1]


def test_a_creation_survives_a_cut_after_any_byte(road):
    way, chance = road("relay"), dice()
    for number in range(10 * ROUNDS):
        way.proxy.cut_after(chance.randrange(700), chance.choice(WAYS))
        if chance.random() < 0.5:
            way.proxy.reset()
        name = chance.choice([None, f"agent {number}"])

        agent = way.client.create(LEDGER, options={"name": name})

        assert agent.add("first") == 1
        assert len(agentd.connect(way.daemon.endpoint).agents()) == number + 2


def test_code_that_was_lost_on_its_way_is_sent_again(road, tmp_path, monkeypatch):
    # Given
    source = "import agentd\nclass Carried(agentd.Agent):\n    def here(self): return True\n"
    (tmp_path / "carried_over_chaos.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("carried_over_chaos")
    way = road("relay")
    endpoint = f"ipc://{way.proxy.listen}"
    agentd.connect(endpoint)
    # When
    way.proxy.stall("up")
    agent = module.Carried(to_dist=endpoint)
    way.proxy.reset()
    way.proxy.heal()
    # Then
    assert agent.here()


UNHEARD = cases(
    """relay: nothing arrives
    direct: the worker is stopped""",
    """relay: nothing passes
    relay: the daemon is stopped
    direct: nothing arrives
    relay: the daemon hangs
    relay: the worker is stopped
    relay: the worker hangs
    direct: nothing passes
    direct: the worker hangs""",
)
"""While these last, nothing is carried out."""


@pytest.mark.parametrize(("path", "silence"), UNHEARD)
def test_a_call_that_timed_out_in_silence_is_not_carried_out_later(road, path, silence):
    # Given
    way = road(path)
    forms = FORMS | ONE_WAY
    # When
    end = SILENCES[silence](way)
    try:
        timed_out = Calls(way, "timed out", 0, forms, timeout=BEAT_S)
        untold = timed_out.untold(CallTimeout, TransportError)
    finally:
        end()
    way.arrived()
    # Then
    way.works_again()
    time.sleep(BEAT_S)  # so that it would be seen
    assert timed_out.times_run() == [0] * len(forms)
    assert untold == {}


@pytest.mark.slow
@pytest.mark.parametrize(("path", "silence"), UNHEARD)
def test_a_call_cancelled_in_silence_is_not_carried_out_later(road, path, silence):
    # Given
    way = road(path)
    # When
    end = SILENCES[silence](way)
    try:
        assert way.agent.add.submit("cancelled").cancel()
        time.sleep(BEAT_S)  # else it comes while it might have been meant
    finally:
        end()
    way.arrived()
    # Then
    way.works_again()
    time.sleep(BEAT_S)  # so that it would be seen
    assert way.witness.begun == []


@pytest.mark.parametrize(
    ("path", "silence"), cases("relay: nothing arrives", "relay: the daemon is stopped")
)
def test_a_creation_given_up_in_silence_makes_no_agent_later(road, path, silence):
    # Given
    way = road(path)
    # When
    end = SILENCES[silence](way)
    try:
        asked = Calls(way, "", 0, {k: v for k, v in QUESTIONS.items() if "create" in k})
        untold = asked.untold(TransportError)
    finally:
        end()
    way.arrived()
    # Then
    way.works_again()
    time.sleep(BEAT_S)  # so that it would be seen
    assert [agent["id"] for agent in agentd.connect(way.daemon.endpoint).agents()] == [
        agentd.handle(way.witness).id
    ]
    assert untold == {}


@pytest.mark.parametrize("path", ["direct", pytest.param("relay", marks=pytest.mark.slow)])
def test_a_daemon_that_died_is_told_and_its_successor_found(road, path):
    # Given
    way = road(path)
    running = Calls(way, "running", LONG_S).begun()
    # When
    way.daemon.kill()
    # Then
    assert running.untold(ConnectionLost, OutcomeUnknown, limit=MET_S) == {}
    connections = way.proxy.connections
    asked = Calls(way, "asked", 0, FORMS | ONE_WAY)
    assert asked.untold(TransportError, AgentNotFound, limit=MET_S) == {}
    assert way.proxy.connections < connections + 60, "it is asked without a pause"
    # When
    way.daemon.start()
    # Then
    began = time.monotonic()

    def answers() -> bool:
        with contextlib.suppress(TransportError):
            return way.client.agents() == []
        return False

    wait_until(answers, "the same client to work again")
    measured("start of the next daemon to the first answer", time.monotonic() - began)
    assert way.client.create(LEDGER).add("first") == 1
