"""When a thread stays awake for what it waits for."""

import pytest

from agentd.transport.lookout import AWAKE_S, MEETINGS, PROOF, SHARED_S, STALL_S, Lookout

LOOK_S = 0.000005


class World:
    """A clock that moves by looking and sleeping; what is waited for comes ``after`` seconds."""

    def __init__(self):
        self.now = 1.0
        self.after = 0.00005
        self.enough = True
        self.looks = 0
        self.sleeps = 0
        self.pauses = 0
        self.turn = 0.0
        """How long who is waited for has this processor, and then it is there."""
        self.moves = 0
        self.lookout = Lookout(
            lambda: self.now, lambda _now: self.enough, self._pause, move=self._move
        )

    def _pause(self):
        self.pauses += 1
        if self.turn:
            self.now += self.turn
            self.after = 0.0

    def _move(self):
        self.moves += 1

    def wait(self):
        began = self.now

        def look():
            self.looks += 1
            self.now += LOOK_S
            return ["came"] if self.now - began >= self.after else []

        def sleep():
            self.sleeps += 1
            self.now = max(self.now, began + self.after)
            return ["came"]

        assert self.lookout.wait(look, sleep) == ["came"]

    def prove(self, times=PROOF):
        for _ in range(times):
            self.wait()

    def stays_awake(self):
        before = self.looks
        self.wait()
        return self.looks > before


@pytest.fixture
def world():
    return World()


def test_it_sleeps_until_waits_have_been_short_for_a_while(world):
    world.prove(PROOF - 1)
    assert (world.looks, world.sleeps) == (0, PROOF - 1)

    world.wait()
    assert world.stays_awake()
    assert world.sleeps == PROOF


def test_it_never_stays_awake_where_waits_are_long(world):
    world.after = 0.01
    world.prove(10 * PROOF)
    assert world.looks == 0


def test_a_long_wait_between_short_ones_begins_the_proof_anew(world):
    world.prove(PROOF - 1)
    world.after = 0.01
    world.wait()
    world.after = 0.00005
    world.prove(PROOF - 1)
    assert world.looks == 0


def test_it_goes_to_sleep_when_it_takes_too_long_and_needs_twice_the_proof(world):
    world.prove()
    world.after = 1.0
    before = world.now
    world.wait()
    assert world.sleeps == PROOF + 1
    assert world.looks * LOOK_S == pytest.approx(AWAKE_S, abs=2 * LOOK_S)
    assert world.now == before + 1.0

    world.after = 0.00005
    looks = world.looks
    world.prove(2 * PROOF)
    assert world.looks == looks
    assert world.stays_awake()


def test_a_proof_that_was_long_gets_shorter_again(world):
    world.prove()
    world.after = 1.0
    world.wait()
    world.after = 0.00005
    world.prove(2 * PROOF)
    world.prove(PROOF)  # these pay

    world.after = 1.0
    world.wait()
    world.after = 0.00005
    looks = world.looks
    world.prove(2 * PROOF)
    assert world.looks == looks
    assert world.stays_awake()


def test_it_sleeps_while_others_want_the_processor(world):
    world.prove()
    world.enough = False
    assert not world.stays_awake()

    world.enough = True
    assert world.stays_awake()


def test_it_lets_others_have_the_processor_between_looks(world):
    world.prove()
    looks = world.looks
    world.wait()
    assert world.pauses == world.looks - looks - 1


def test_who_missed_the_processor_goes_to_sleep(world):
    world.prove()
    stalled = world.lookout

    def look():
        world.now += 2 * STALL_S
        return []

    slept = []
    stalled.wait(look, lambda: slept.append(1) or ["came"])
    assert slept
    assert not world.stays_awake()


def test_one_of_a_process_stays_awake_at_a_time(world):
    world.prove()
    other = World()
    other.prove()
    seen = []

    def look():
        seen.append(other.stays_awake())
        return ["came"]

    world.lookout.wait(look, list)
    assert seen == [False]
    assert other.stays_awake()


def test_who_shares_a_processor_with_the_one_it_waits_for_stays_awake_and_moves(world):
    world.prove()
    for times in (MEETINGS, 2 * MEETINGS, 4 * MEETINGS):
        moves = world.moves
        for _ in range(times):
            assert world.moves == moves
            world.turn, world.after = 0.9 * STALL_S, 1.0
            assert world.stays_awake()
        assert world.moves == moves + 1
    assert world.sleeps == PROOF


@pytest.mark.parametrize("turn", [0.9 * SHARED_S - LOOK_S, 0.0])
def test_who_has_one_for_itself_stays_where_it_is(world, turn):
    world.prove()
    for _ in range(3 * MEETINGS):
        world.turn, world.after = turn, 1.0 if turn else 2 * LOOK_S
        assert world.stays_awake()
    assert world.moves == 0


def test_they_share_it_only_if_they_do_so_in_a_row(world):
    world.prove()
    for _ in range(3):
        for _ in range(MEETINGS - 1):
            world.turn, world.after = 2 * SHARED_S, 1.0
            assert world.stays_awake()
        world.turn, world.after = 0.0, 2 * LOOK_S
        assert world.stays_awake()
    assert world.moves == 0


def test_what_came_after_too_long_a_stall_is_waited_for_asleep(world):
    """It is found all the same."""
    world.prove()
    world.turn, world.after = 2 * AWAKE_S, 1.0
    world.wait()
    world.turn, world.after = 0.0, 2 * LOOK_S
    assert not world.stays_awake()
    assert world.moves == 0


def test_what_it_takes_to_ask_for_processors_is_no_stall(world):
    def slowly(_now):
        world.now += 10 * STALL_S
        return True

    world.prove()
    world.lookout._enough = slowly
    assert world.stays_awake()
    assert world.stays_awake()


def test_a_stall_after_which_it_was_there_is_forgiven_once(world):
    world.prove()
    for _ in range(3):
        world.turn, world.after = 2 * STALL_S, 1.0
        assert world.stays_awake()
        world.turn, world.after = 0.0, 2 * LOOK_S
        assert world.stays_awake()
    for _ in range(2):
        world.turn, world.after = 2 * STALL_S, 1.0
        assert world.stays_awake()
    assert world.sleeps == PROOF
    world.turn, world.after = 0.0, 2 * LOOK_S
    assert not world.stays_awake()
