"""Large values are as at their origin, whichever way they came."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agentd

MIB = 1024 * 1024
OFTEN = 4
"""The first of a connection go another way than those after."""


class Keeper(agentd.Agent):
    def __init__(self) -> None:
        self.kept: Any = None

    def echo(self, value: Any) -> Any:
        return value

    def keep(self, value: Any) -> None:
        self.kept = value

    def give(self) -> Any:
        return self.kept

    def double(self, array: Any) -> Any:
        array *= 2  # in place: what arrives is one's own
        return array

    def kind(self, value: Any) -> tuple[str, bool]:
        return type(value).__name__, memoryview(value).readonly

    def several(self, size: int, times: int) -> Iterator[bytes]:
        for number in range(times):
            yield bytes([number]) * size

    def blocks(self) -> int:
        return shared_maps()


def shared_maps() -> int:
    """Blocks of shared memory that this process has mapped."""
    return Path("/proc/self/maps").read_text().count("/memfd:agentd")


def array(number: int, size: int = 4 * MIB) -> Any:
    return np.arange(number, number + size // 8, dtype="i8")


@pytest.fixture
def agent(hosted):
    return hosted(Keeper, worker="dedicated")


def test_there_and_back_by_shared_memory_unless_the_daemon_relays(agent, request):
    for number in range(2 * OFTEN):
        sent = os.urandom(3 * MIB)
        assert agent.echo(sent) == sent
        assert (agent.echo(array(number)) == array(number)).all()

    straight = "straight" in request.node.name
    assert (agent.blocks() >= 2) == straight  # one in each direction
    assert not straight or shared_maps() >= 2


def test_bytes_stay_bytes_and_arrays_can_be_written_to(agent):
    for number in range(OFTEN):
        assert agent.kind(bytes(2 * MIB)) == ("bytes", True)
        assert agent.kind(bytearray(2 * MIB)) == ("bytearray", False)
        assert agent.kind(array(number)) == ("ndarray", False)
        came = agent.double(array(number))
        assert (came == 2 * array(number)).all()
        came += 1  # ours, too
        assert (came == 2 * array(number) + 1).all()
        assert type(agent.echo(bytes(2 * MIB))) is bytes
        assert type(agent.echo(bytearray(2 * MIB))) is bytearray


def test_what_is_sent_is_what_it_was_then(agent):
    agent.blocks()  # a call is sent at once where its agent is known
    for number in range(OFTEN):
        value = array(number, 16 * MIB)
        result = agent.echo.submit(value)
        value[:] = -1
        assert (result.result() == array(number, 16 * MIB)).all()


def test_what_came_is_not_changed_by_what_comes_after(agent):
    kept = [agent.echo(array(number)) for number in range(12)]
    agent.keep(array(100))
    for number in range(OFTEN):
        agent.echo(array(number))

    assert [int(each[0]) for each in kept] == list(range(12))
    assert all((each == array(n)).all() for n, each in enumerate(kept))
    assert (agent.give() == array(100)).all()


def test_a_part_keeps_what_it_is_part_of(agent):
    parts = [agent.echo(array(number))[5:7] for number in range(OFTEN)]
    for number in range(OFTEN):
        agent.echo(array(-1 - number))
    assert [part.tolist() for part in parts] == [[n + 5, n + 6] for n in range(OFTEN)]


def test_many_frames_and_small_ones_between(agent):
    for number in range(OFTEN):
        value = {"a": array(number), "small": [1, b"x" * 70_000], "b": np.ones(300_000), "c": "d"}
        came = agent.echo(value)
        assert (came["a"] == value["a"]).all()
        assert (came["b"] == value["b"]).all()
        assert came["small"] == value["small"]


def test_arrays_in_columns(agent):
    for number in range(OFTEN):
        value = np.asfortranarray(array(number).reshape(512, -1))
        came = agent.echo(value)
        assert came.flags.f_contiguous
        assert (came == value).all()


def test_many_threads_at_once(agent):
    def ask(number):
        return int(agent.echo(array(number))[0]) == number

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(64)))


def test_many_that_nobody_waits_for_yet(agent):
    results = [agent.echo.submit(array(number, 2 * MIB)) for number in range(40)]
    assert [int(result.result()[0]) for result in results] == list(range(40))


def test_handed_on_and_fetched_more_than_once(hosted):
    one, other = hosted(Keeper, worker="dedicated"), hosted(Keeper, worker="dedicated")
    for number in range(OFTEN):
        first = one.echo.submit(array(number))
        second = other.echo.submit(first)
        third = other.echo.submit(first)
        for result in (first, second, third):
            assert (result.result() == array(number)).all()


def test_items_of_a_stream(agent):
    came = list(agent.several(2 * MIB, 12))
    assert [item[:1] for item in came] == [bytes([n]) for n in range(12)]
    assert all(item == item[:1] * 2 * MIB for item in came)


PROGRAM = """
import os, agentd
from pathlib import Path

class Keeper(agentd.Agent):
    def echo(self, value):
        return value
    def blocks(self):
        return Path("/proc/self/maps").read_text().count("/memfd:agentd")

agent = Keeper(to_dist=True)
for _ in range(4):
    assert agent.echo(b"x" * 3_000_000) == b"x" * 3_000_000
print(agent.blocks() + Path("/proc/self/maps").read_text().count("/memfd:agentd"))
"""


@pytest.mark.parametrize(("kept", "blocks"), [("0", "0"), ("100000000", "4")])
def test_how_much_is_kept_is_a_setting(script, kept, blocks):
    assert script.run(PROGRAM, AGENTD_KEPT_BYTES=kept) == [blocks]


def test_who_calls_with_little_loads_nothing_for_it(script):
    lines = script.run(
        PROGRAM.replace("3_000_000", "1000")
        + """
import sys
print([name for name in sys.modules if name.startswith("agentd.transport.") and
       name.rpartition(".")[2] in ("memory", "rooms", "idle", "sharing", "blocks", "pool")])
"""
    )
    assert lines[-1] == "[]"


def test_a_setting_that_makes_no_sense_is_told(script):
    started = script.start(PROGRAM, AGENTD_KEPT_BYTES="much")
    _out, said = started.communicate(timeout=60)
    assert started.returncode
    assert "AGENTD_KEPT_BYTES" in str(said)


def test_a_forked_child_has_its_own(script):
    lines = script.run(
        PROGRAM
        + """
child = os.fork()
if not child:
    code = 1
    try:
        for _ in range(4):
            assert agent.echo(b"c" * 3_000_000) == b"c" * 3_000_000
        code = 0
    finally:
        os._exit(code)
for _ in range(20):
    assert agent.echo(b"p" * 3_000_000) == b"p" * 3_000_000
print(os.waitpid(child, 0)[1])
"""
    )
    assert lines[-1] == "0"
