"""Two hosts with a router between them, as network namespaces: packets that are really lost.

The client's host reaches the daemon's over TCP, by a proxy at either end.

    client ── unix ── proxy ── near ── router ── far ── proxy ── unix ── daemon
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import agentd
from agentd.errors import ConnectionLost, OutcomeUnknown, TransportError
from tests.faults.harness import LONG_S, Daemon, Thread, measured, wait_until

BEAT_S = 0.5
TOLD_S = 3 * BEAT_S + 2.0
"""Three heartbeats, and room for a busy machine."""
PORT = 7000
LEDGER = "tests.faults.ledger:Ledger"
CHAOS = Path(__file__).with_name("chaos.py")
_numbers = itertools.count()


def run(*command: str) -> str:
    """What the command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


ip = partial(run, "ip")


def why_not() -> str | None:
    """Why there can be no namespaces here; ``None``: there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"agentd-try-{os.getpid()}"
    try:
        ip("netns", "add", name)
    except FileNotFoundError:
        return "there is no iproute2 here"
    except subprocess.CalledProcessError as error:
        return f"ip netns add: {error.stderr.strip()}"
    ip("netns", "delete", name)
    return None


class Network:
    """The namespaces, the links between them, and what can go wrong with these."""

    def __init__(self) -> None:
        mark = f"{os.getpid()}-{next(_numbers)}"
        self.near, self.router, self.far = (
            f"agentd-{place}-{mark}" for place in ("near", "router", "far")
        )

    def __enter__(self) -> "Network":
        try:
            for name in (self.near, self.router, self.far):
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            for host, net in ((self.near, 1), (self.far, 2)):
                ip("link", "add", "wire", "netns", host, "type", "veth",
                   "peer", "name", f"to{net}", "netns", self.router)  # fmt: skip
                ip("-n", host, "address", "add", f"10.0.{net}.2/24", "dev", "wire")
                ip("-n", host, "link", "set", "wire", "up")
                ip("-n", self.router, "address", "add", f"10.0.{net}.1/24", "dev", f"to{net}")
                ip("-n", self.router, "link", "set", f"to{net}", "up")
                ip("-n", host, "route", "add", "default", "via", f"10.0.{net}.1")
            forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
            ip("netns", "exec", self.router, "sh", "-c", forward)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.near, self.router, self.far):
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "delete", name)

    def link_down(self) -> Callable[[], None]:
        """Unplug the daemon's host; the result plugs it in again."""
        ip("-n", self.router, "link", "set", "to2", "down")
        return partial(ip, "-n", self.router, "link", "set", "to2", "up")

    def lose(self, net: int) -> Callable[[], None]:
        """Lose what goes to that net's host; what comes from there arrives."""
        ip("-n", self.router, "route", "add", "blackhole", f"10.0.{net}.2/32")
        return partial(ip, "-n", self.router, "route", "delete", "blackhole", f"10.0.{net}.2/32")

    def lose_all(self) -> Callable[[], None]:
        """Both."""
        ends = [self.lose(1), self.lose(2)]
        return lambda: [end() for end in ends] and None

    @contextlib.contextmanager
    def crowded(self) -> Iterator[Callable[[], int]]:
        """The way to the daemon's host is narrow: packets wait, and some of them are lost.

        Gives what tells how many were.
        """
        at = ["dev", "to2"]
        narrow = ["tbf", "rate", "200kbit", "burst", "2kb", "limit", "3000"]
        run("tc", "-n", self.router, "qdisc", "add", *at, "root", *narrow)

        def lost() -> int:
            told = run("tc", "-n", self.router, "-s", "-j", "qdisc", "show", *at)
            return sum(queue["drops"] for queue in json.loads(told))

        try:
            yield lost
        finally:
            run("tc", "-n", self.router, "qdisc", "delete", *at, "root")


class Hosts:
    """A daemon with an agent on one host, its client on the other."""

    def __init__(self, network: Network, daemon: Daemon, stack: contextlib.ExitStack) -> None:
        self.network, self.daemon = network, daemon
        near, front = f"{daemon.folder}/near", f"{daemon.folder}/s"
        self._proxy(stack, network.far, f"10.0.2.2:{PORT}", front)
        self._proxy(stack, network.near, near, f"10.0.2.2:{PORT}")
        self.near = f"ipc://{near}"

    def host(self, **options: Any) -> None:
        """Have a new agent."""
        client = agentd.connect(self.daemon.endpoint)
        self.witness = client.create(LEDGER, options=options)
        """The agent, reached by a way without faults."""
        self.witness.pid()
        far = agentd.connect(self.near, direct=False)
        self.agent = far.get(agentd.handle(self.witness).id)
        """The agent, reached over the network."""

    def _proxy(self, stack: contextlib.ExitStack, host: str, listen: str, to: str) -> None:
        """It ends when its standard input does."""
        process = stack.enter_context(
            subprocess.Popen(
                ["ip", "netns", "exec", host, sys.executable, str(CHAOS), listen, to],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def works_again(self) -> None:
        """The proxy of the agent that could not be reached reaches it, after a while."""
        began = time.monotonic()

        def answers() -> bool:
            with contextlib.suppress(TransportError, OutcomeUnknown):
                return bool(self.agent.pid())
            return False

        wait_until(answers, "the same proxy to work again")
        measured("network back to the first answer", time.monotonic() - began)


@pytest.fixture(scope="module")
def both_hosts() -> Iterator[Hosts]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        daemon = Daemon(workers=1, heartbeat_s=BEAT_S, client_grace_s=60)
        stack.callback(daemon.end)
        yield Hosts(network, daemon.start(), stack)


@pytest.fixture
def hosts(both_hosts: Hosts) -> Hosts:
    """With an agent of the test's own."""
    both_hosts.host(max_concurrency=64)
    return both_hosts


FAILURES: dict[str, Callable[[Network], Callable[[], None]]] = {
    "a link is down": Network.link_down,
    "packets to the daemon are lost": lambda network: network.lose(2),
    "packets to the client are lost": lambda network: network.lose(1),
    "all packets are lost": Network.lose_all,
}


def failures(*default: str) -> list[Any]:
    """All as parameters; only these of them in the default tier."""
    return [
        pytest.param(failure, marks=() if failure in default else pytest.mark.slow)
        for failure in FAILURES
    ]


@pytest.mark.parametrize("failure", failures("a link is down", "packets to the client are lost"))
def test_a_network_that_fails_is_told_and_works_again_when_it_is_back(hosts, failure):
    # Given
    running = Thread(lambda: hosts.agent.slow("running", LONG_S))
    submitted = hosts.agent.slow.submit("submitted", LONG_S)
    wait_until(lambda: len(hosts.witness.begun) == 2, "the calls to run")
    # When
    began = time.monotonic()
    back = FAILURES[failure](hosts.network)
    try:
        asked = Thread(lambda: hosts.agent.add("asked"))
        # Then
        for outcome in (running.done(TOLD_S), submitted.exception(TOLD_S)):
            assert isinstance(outcome, ConnectionLost | OutcomeUnknown)
        measured(f"{failure}: to the errors", time.monotonic() - began)
        assert isinstance(asked.done(TOLD_S), TransportError | OutcomeUnknown)
    finally:
        back()
    hosts.works_again()
    assert hosts.witness.begun[:2] in (["running", "submitted"], ["submitted", "running"])
    assert hosts.witness.begun[2:] in ([], ["asked"])


@pytest.mark.parametrize("failure", failures("all packets are lost"))
def test_a_short_failure_of_the_network_is_not_noticed(hosts, failure):
    # Given
    running = Thread(lambda: hosts.agent.slow("running", 0.4))
    wait_until(lambda: hosts.witness.begun, "the call to run")
    # When
    back = FAILURES[failure](hosts.network)
    try:
        submitted = hosts.agent.add.submit("submitted")
        wait_until(lambda: hosts.witness.ended, "the result to be ready")
    finally:
        back()
    # Then
    assert running.done() == "running"
    assert submitted.result(LONG_S) == 2
    assert hosts.witness.begun == ["running", "submitted"]


def test_a_crowded_network_loses_packets_but_no_call(hosts):
    # Given
    hosts.host(max_concurrency=1)
    wanted = [[number, bytes(500)] for number in range(40)]
    with hosts.network.crowded() as lost:
        # When
        results = [hosts.agent.add.submit(entry) for entry in wanted]
        # Then
        assert [result.result(LONG_S) for result in results] == list(range(1, 41))
        assert lost() > 0
    assert hosts.witness.begun == wanted
