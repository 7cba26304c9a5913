"""Workers on the network: calls go straight there, and nobody comes in who does not belong.

And where a worker's door cannot be reached, or is shut, calls go on by the daemon.
"""

import asyncio
import datetime
import os
import re
import selectors
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

import agentd
from agentd import keys
from agentd.client.runtime import runtime
from agentd.errors import (
    AgentCrashed,
    AuthenticationFailed,
    ConfigError,
    NotAllowed,
    Overloaded,
)
from agentd.keys import Role
from agentd.transport.curve import Keys, new_pair
from tests.faults.harness import LONG_S, Thread, measured, pause, wait_until
from tests.faults.test_keys import new_pair_of, refused_as
from tests.machine import needs_ipv6

LEDGER = "tests.faults.ledger:Ledger"
PORTS = "21000-21999"
"""Below those that the system gives away; tests that run at the same time share them."""


@pytest.fixture
def start(build):
    """As elsewhere, but not started: a door has to be put in first."""
    return build


def opened(door, start, *, host="127.0.0.1", ports=PORTS, **settings):
    door.grant()
    return door.open(start, host, worker_ports=ports, **settings)


@pytest.fixture
def agent(door, start):
    """An agent, over TCP."""
    return agentd.connect(opened(door, start)).create(LEDGER)


def session(door):
    return runtime()._sessions[door.endpoint, False]


def links(door):
    """The connections of this program to workers' own doors."""
    found = session(door).workers.links.values()
    return [link for link in found if link is not None and link.down is None]


def place(door, agent):
    return session(door).places.locate(bytes.fromhex(agentd.handle(agent).id))


class AtWorker:
    """A worker's door, as ``test_keys`` looks at that of a daemon."""

    def __init__(self, found):
        self.endpoint = f"tcp://127.0.0.1:{found.port}"
        self.pair = Keys(found.key, b"", b"")


# -- straight to the worker ------------------------------------------------------------------------
def test_calls_need_no_daemon(door, agent):
    assert agent.add("a") == 1
    assert len(links(door)) == 1
    pause(door.daemon.process.pid)
    try:
        assert agent.add("b") == 2
        assert agent.add.submit("c").result(LONG_S) == 3
        assert list(agent.tell("d", 300)) == list(range(300))
        agent.add.oneway("e")
        assert agent.add(b"x" * 20_000_000) == 6
    finally:
        door.daemon.signal(signal.SIGCONT)


def test_each_worker_has_a_port_and_keys_of_its_own(door, start):
    client = agentd.connect(opened(door, start))
    agents = [client.create(LEDGER, options={"worker": "dedicated"}) for _ in range(3)]
    places = [place(door, each) for each in agents]
    assert len({found.port for found in places}) == 3
    assert len({found.key for found in places}) == 3
    assert door.pair.public not in {found.key for found in places}
    assert [each.add(1) for each in agents] == [1, 1, 1]
    assert len(links(door)) == 3


def test_asyncio_files_and_watched_values_go_there_too(door, start, tmp_path):
    agent = agentd.connect(opened(door, start)).create("tests.faults.test_worker_doors:Giver")
    many = agentd.aio(agent)

    async def use():
        counted = await asyncio.gather(*(many.add() for _ in range(100)))
        return sorted(counted), [item async for item in many.count_to(50)]

    (tmp_path / "big").write_bytes(os.urandom(5_000_000))
    assert agent.add() == 1
    pause(door.daemon.process.pid)
    try:
        assert asyncio.run(use()) == (list(range(2, 102)), list(range(50)))
        saved = agent.give(str(tmp_path / "big")).save(tmp_path / "saved")
        assert saved.read_bytes() == (tmp_path / "big").read_bytes()
        seen = agentd.handle(agent).watch("count")
        assert next(seen)[0] == 101
        agent.add()
        assert next(seen)[0] == 102
        seen.close()
    finally:
        door.daemon.signal(signal.SIGCONT)


class Giver(agentd.Agent):
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count

    def count_to(self, n):
        yield from range(n)

    def give(self, path):
        return agentd.File(path)


@pytest.mark.parametrize("host", [pytest.param("[::1]", marks=needs_ipv6), "localhost"])
def test_it_is_reached_wherever_the_daemon_is(door, start, host):
    """By the kind of address by which the daemon answered."""
    endpoint = opened(door, start, host=host)
    agent = agentd.connect(endpoint).create(LEDGER)
    assert agent.add(1) == 1
    [link] = links(door)
    assert link.reached.rpartition(":")[2] == str(place(door, agent).port)


def test_who_comes_by_another_way_is_told_nothing_of_it(door, agent):
    identity = bytes.fromhex(agentd.handle(agent).id)
    local = runtime().session_at(door.daemon.endpoint).places.locate(identity)
    assert (local.port, local.key) == (0, b"")
    assert place(door, agent).port


def test_a_worker_with_limits_is_not_on_the_network(door, start):
    """Strangers that knock would use up what its agent may."""
    client = agentd.connect(opened(door, start))
    held = client.create(LEDGER, options={"limits": {"files": 200}})
    assert held.add(1) == 1
    assert place(door, held).port == 0
    assert links(door) == []


def test_a_result_goes_from_worker_to_worker(door, start):
    client = agentd.connect(opened(door, start))
    one, other = (client.create(LEDGER, options={"worker": "dedicated"}) for _ in range(2))
    assert other.add(one.slow.submit("late", 0.3)) == 1
    assert len(links(door)) == 2


@pytest.mark.parametrize("ports", [PORTS, ""], ids=["straight", "relayed"])
def test_a_call_is_tried_once_more_under_its_key(door, start, ports):
    """It was refused as there was no room: not as if it had overtaken itself."""
    client = agentd.connect(opened(door, start, ports=ports))
    agent = client.create(LEDGER, options={"mailbox": 1})
    running = [agent.slow.submit(number, 0.5) for number in range(2)]
    retry = agentd.Retry.fixed(times=500, delay=0.05)
    assert agent.add.options(retry=retry)("comes through") > 0
    assert bool(links(door)) == bool(ports)
    assert {type(each.exception(LONG_S)) for each in running} <= {type(None), Overloaded}


def test_a_call_is_given_up(door, agent):
    running = agent.slow.submit("long", LONG_S)
    wait_until(lambda: links(door), "the connection")
    assert running.cancel()
    assert agent.add("next") in (1, 2)
    with pytest.raises(agentd.errors.CallTimeout):
        agent.slow.options(timeout=0.2)("too long", LONG_S)


# -- who may come ----------------------------------------------------------------------------------
def connections_to(port):
    """How many of those to a port are established on this host."""
    return len(others(port))


def others(port):
    """Where those come from."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[2] for row in lines if row[1].endswith(f":{port:04X}") and row[3] == "01"}


def test_a_key_that_is_revoked_is_refused_and_disconnected_there_too(door, agent):
    agent.add("before")
    found = place(door, agent)
    running = Thread(lambda: agent.slow("running", LONG_S))
    wait_until(lambda: connections_to(found.port) == 1, "the connection")
    began = time.monotonic()
    door.revoke()
    assert isinstance(running.done(LONG_S), AuthenticationFailed)
    measured("revoked to refused at the worker", time.monotonic() - began)
    wait_until(lambda: connections_to(found.port) == 0, "the connection to end")
    assert refused_as(AtWorker(found), door.me)
    with pytest.raises(AuthenticationFailed):
        agent.add("after")


def test_a_revoked_peer_is_refused_by_the_worker_itself(door, agent):
    """The daemon stands still once it has told: it is the worker that ends the connection."""
    agent.add("before")
    found = place(door, agent)
    link = links(door)[0]
    door.revoke()
    wait_until(lambda: refused_as(AtWorker(found), door.me), "the worker to know")
    pause(door.daemon.process.pid)
    try:
        wait_until(lambda: link.down is not None, "it to be told")
        wait_until(lambda: connections_to(found.port) == 0, "the connection to end")
    finally:
        door.daemon.signal(signal.SIGCONT)


def test_a_grant_that_becomes_less_holds_for_the_next_call(door, agent):
    agent.add("before")
    found = place(door, agent)
    before = others(found.port)
    file = Path(keys.authorized_folder(door.server), "me.toml")
    new = file.with_suffix(".new")
    new.write_text(
        file.read_text().replace('"admin"', '"caller"').replace('methods = ["*"]', "methods = []")
    )
    new.rename(file)

    def refused():
        try:
            agent.add("again")
        except NotAllowed:
            return True
        return False

    wait_until(refused, "the grant to be less")
    assert before & others(found.port), "its connection was to stay"


def test_a_key_that_expires_is_out_there_too(door, agent):
    agent.add("before")
    found = place(door, agent)
    file = Path(keys.authorized_folder(door.server), "me.toml")
    until = datetime.datetime.fromtimestamp(time.time() + 3, datetime.UTC)
    new = file.with_suffix(".new")
    new.write_text(f"{file.read_text()}expires = {until:%Y-%m-%dT%H:%M:%SZ}\n")
    new.rename(file)
    running = Thread(lambda: agent.slow("running", LONG_S))
    assert isinstance(running.done(LONG_S), AuthenticationFailed)
    wait_until(lambda: connections_to(found.port) == 0, "the connection to end")
    assert refused_as(AtWorker(found), door.me)


def test_strangers_and_those_who_are_let_in_later(door, agent):
    agent.add("before")
    there = AtWorker(place(door, agent))
    other = new_pair_of(door, "other")
    assert refused_as(there, other)
    door.grant(other, "other", roles=frozenset({Role.OBSERVER}))
    wait_until(lambda: not refused_as(there, other), "the key to be known")
    door.revoke("other")
    wait_until(lambda: refused_as(there, other), "it to be forgotten")


def test_what_cannot_be_read_lets_nobody_in_there_either(door, agent):
    agent.add("before")
    found = place(door, agent)
    Path(keys.authorized_folder(door.server)).chmod(0o777)
    wait_until(lambda: refused_as(AtWorker(found), door.me), "the door to close")
    with pytest.raises(AuthenticationFailed):
        agent.add("after")


def test_another_key_than_the_daemon_told_is_not_spoken_to(door, agent, monkeypatch):
    """Somebody else listens at the worker's port: nothing is said to him, and the daemon relays."""
    told = type(session(door).places).located

    def elsewhere(self, pending):
        found = told(self, pending)
        return self._known.setdefault(found.agent, found) and found.changed(key=new_pair()[0])

    monkeypatch.setattr(type(session(door).places), "located", elsewhere)
    found = place(door, agent)
    link = session(door).workers.link(found)
    assert link is session(door).daemon.link


# -- ports -----------------------------------------------------------------------------------------
def test_ports_that_others_have_are_passed_over(door, start):
    with socket.create_server(("127.0.0.1", 0)) as first:
        low = first.getsockname()[1]
        agent = agentd.connect(opened(door, start, ports=f"{low}-{min(low + 50, 65_535)}"))
        agent = agent.create(LEDGER)
        assert agent.add(1) == 1
        assert place(door, agent).port > low
        assert links(door)


def test_where_no_port_is_free_calls_are_relayed(door, start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        agent = agentd.connect(opened(door, start, ports=f"{port}-{port}")).create(LEDGER)
        assert agent.add(1) == 1
        assert place(door, agent).port == 0
        assert links(door) == []
    assert f"no port from {port} to {port} is free" in door.daemon.said()


@pytest.mark.parametrize(
    ("workers", "ports", "said"),
    [(3, "21000-21001", "2 ports for 3 workers"), (1, "5000-6000", "has the port of tcp")],
)
def test_ranges_that_cannot_do_end_the_start(door, start, workers, ports, said):
    door.grant()
    daemon = start(wait=False, config_dir=door.server, workers=workers, worker_ports=ports)
    daemon.settings["bind"] = (daemon.endpoint, "tcp://127.0.0.1:5577")
    daemon.start(wait=False)
    assert daemon.process.wait(LONG_S) == 1
    assert daemon.said().startswith(ConfigError.code)
    assert said in daemon.said()
    daemon.forget()


# -- doors that cannot be reached ------------------------------------------------------------------
class Forwarder(threading.Thread):
    """A way to the daemon alone, as SSH makes one: at another address, and by one port."""

    def __init__(self, host, to):
        super().__init__(daemon=True)
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self._to = to
        self._over = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pairs = {}
        self.start()

    def run(self):
        while not self._over:
            for key, _events in self._selector.select(0.1):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._pass_on(key.fileobj)

    def _accept(self):
        near, _address = self._listener.accept()
        far = socket.create_connection(self._to)
        self._pairs |= {near: far, far: near}
        for each in (near, far):
            self._selector.register(each, selectors.EVENT_READ)

    def _pass_on(self, one):
        other = self._pairs[one]
        try:
            data = one.recv(65_536)
        except OSError:
            data = b""
        if data:
            other.sendall(data)
            return
        for each in (one, other):
            self._selector.unregister(each)
            self._pairs.pop(each)
            each.close()

    def stop(self):
        self._over = True
        self.join()
        for each in [*self._pairs, self._listener]:
            each.close()


@pytest.fixture
def tunnel(door, start):
    """The daemon at an address where its workers are not, and an agent."""
    opened(door, start)
    port = int(door.endpoint.rpartition(":")[2])
    found = Forwarder("127.0.0.2", ("127.0.0.1", port))
    door.endpoint = f"tcp://127.0.0.2:{found.port}"
    door.trust()
    yield door
    current = runtime()._sessions.pop((door.endpoint, False), None)
    if current is not None:
        current.close()
    found.stop()


def test_where_a_door_is_refused_the_daemon_relays(tunnel):
    agent = agentd.connect(tunnel.endpoint).create(LEDGER)
    began = time.monotonic()
    assert [agent.add(n) for n in range(20)] == list(range(1, 21))
    measured("20 calls by a tunnel", time.monotonic() - began)
    assert place(tunnel, agent).port
    assert links(tunnel) == []
    assert list(agent.tell("stream", 50)) == list(range(50))


def test_where_a_door_says_nothing_the_daemon_relays_and_it_is_not_tried_again(tunnel):
    agent = agentd.connect(tunnel.endpoint).create(LEDGER)
    found = place(tunnel, agent)
    knocked = []
    with socket.create_server(("127.0.0.2", found.port)) as mute:
        thread = Thread(lambda: knocked.append(mute.accept()))
        assert agent.add(1) == 1
        thread.done()
        began = time.monotonic()
        for number in range(2, 50):
            assert agent.add(number) == number
        assert session(tunnel).workers._doors.may_open(found) is False
        assert links(tunnel) == []
        measured("48 calls beside a mute door", time.monotonic() - began)
        for connection, _address in knocked:
            connection.close()


# -- workers that die, stand still, or are busy ----------------------------------------------------
def test_a_worker_that_dies_and_where_its_agent_is_then(door, agent):
    agent.add("before")
    first = place(door, agent)
    running = Thread(lambda: agent.slow("running", LONG_S))
    wait_until(lambda: agent.pid.submit() is not None, "a call to be on its way")
    os.kill(door.daemon.client.info()["workers"][0]["pid"], signal.SIGKILL)
    assert isinstance(running.done(LONG_S), AgentCrashed)
    assert agent.add("after") == 1
    second = place(door, agent)
    assert second.epoch == 2
    assert (second.port, second.key) != (first.port, first.key)
    assert [link.reached for link in links(door)] == [f"tcp://127.0.0.1:{second.port}"]


@pytest.mark.parametrize("role", [Role.ADMIN, Role.CALLER])
def test_a_worker_that_keeps_the_interpreter_is_waited_for(door, start, tmp_path, role):
    """It does not answer at its own door; the daemon, which is asked about it, sees it is busy."""
    door.grant(roles=frozenset({role}), agents=("listed",))
    endpoint = door.open(start, worker_ports=PORTS)
    own = agentd.connect(door.daemon.endpoint).create(LEDGER, options={"name": "listed"})
    agent = agentd.connect(endpoint).get("listed")
    assert agent.add("before") == 1
    link = links(door)[0]
    started, enough = tmp_path / "started", tmp_path / "enough"
    reckoning = agent.reckon.submit("reckons", str(started), str(enough))
    wait_until(started.exists, "it to reckon")
    behind = [agent.add.submit(f"behind {number}") for number in range(10)]
    wait_until(lambda: link.doubted is not None, "the silence to be noticed")
    time.sleep(2)  # the daemon has looked at it, too, several times
    enough.touch()
    assert reckoning.result(LONG_S) is None
    # In whatever order, on a machine that has too much to do: what came late is sent once more.
    assert sorted(each.result(LONG_S) for each in behind) == list(range(3, 13))
    assert sorted(own.begun) == sorted(["before", "reckons", *(f"behind {n}" for n in range(10))])


def test_an_authenticator_that_ends_takes_the_door_with_it(door, start):
    agent = agentd.connect(opened(door, start)).create("tests.faults.test_worker_doors:Saboteur")
    assert agent.add() == 1
    found = place(door, agent)
    agent.sabotage()
    stranger = new_pair_of(door, "stranger")
    wait_until(lambda: _is_shut(found.port, stranger, found), "the door to be shut")
    wait_until(lambda: connections_to(found.port) == 0, "all connections to end")
    assert agent.add() == 2
    assert links(door) == []


def test_a_door_that_lets_strangers_in_is_found_out_within_a_minute(door, start):
    agent = agentd.connect(opened(door, start)).create("tests.faults.test_worker_doors:Saboteur")
    assert agent.add() == 1
    found = place(door, agent)
    assert connections_to(found.port) == 1
    agent.lie_for_a_minute()
    wait_until(lambda: connections_to(found.port) == 0, "all connections to end")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", found.port), timeout=5)
    assert agent.add() == 2  # by the daemon
    wait_until(
        lambda: "does not tell a stranger from others" in door.daemon.said(), "it to be told"
    )
    assert place(door, agent).port == 0, "nobody is sent there any more"


def _is_shut(port, pair, found):
    """Whether nobody listens there any more; it is knocked so that it is found out."""
    from agentd.transport.curve import is_let_in
    from agentd.transport.sockets import new_context

    context = new_context()
    try:
        is_let_in(context, f"tcp://127.0.0.1:{port}", Keys(pair.public, pair.secret, found.key), 1)
    finally:
        context.term()
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return True
    return False


class Saboteur(agentd.Agent):
    """Code in a worker can do to its door what it likes: it gains nothing by shutting it."""

    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count

    def sabotage(self):
        import agentd.transport.zap as zap

        zap.Authenticator._reply = lambda _self, _request: [object()]

    def lie_for_a_minute(self):
        import threading

        import agentd.transport.zap as zap

        let_in = [b"200", b"OK", b"key:x", b""]
        zap.Authenticator._reply = lambda _self, request: [*request[:2], *let_in]
        [looks] = [t for t in threading.enumerate() if t.name == "agentd-doorkeeper"]
        keeper = looks._target.__self__
        keeper._wait = lambda _seconds: False  # minutes pass at once
        threading.Thread(target=keeper._run).start()


def test_a_drained_worker_ends_its_calls_and_takes_no_more(door, agent):
    items = agent.tell("items", 10, 0.2)
    assert next(items) == 0
    door.daemon.process.terminate()
    wait_until(lambda: re.search("draining", door.daemon.said()), "the daemon to drain")

    def drains():
        try:
            agent.add.submit("late").result(LONG_S)
        except agentd.errors.Draining:
            return True
        return False

    wait_until(drains, "new calls to be refused")
    assert list(items) == list(range(1, 10))
    assert door.daemon.process.wait(LONG_S) == 0
