"""How many processors there are for this process, and whether they are enough for all."""

import os

import pytest

from agentd.transport import processors
from agentd.transport.processors import LOOK_S, Processors, available, move


@pytest.fixture
def mine():
    return len(os.sched_getaffinity(0))


def groups(folder, *quotas, path="/a/b"):
    """Control groups, outermost first, and the file that tells which one is ours."""
    (folder / "cgroup").write_text(f"0::{path}\n")
    at = folder
    for name, quota in zip(("", "a", "b"), quotas, strict=False):
        at = at / name
        at.mkdir(exist_ok=True)
        if quota:
            (at / "cpu.max").write_text(quota + "\n")
    return available(str(folder / "cgroup"), str(folder))


def test_without_a_quota_they_are_those_of_its_affinity(tmp_path, mine):
    assert available(str(tmp_path / "none"), str(tmp_path)) == mine
    assert groups(tmp_path, "", "max 100000", "max 100000") == mine


@pytest.mark.parametrize(
    "quotas", [("100000 100000",), ("", "150000 100000"), ("", "max 100000", "100000 100000")]
)
def test_a_quota_of_any_group_above_counts(tmp_path, quotas):
    assert groups(tmp_path, *quotas) == 1


def test_less_than_a_whole_one_is_none(tmp_path):
    assert groups(tmp_path, "", "50000 100000") == 0


@pytest.mark.parametrize("text", ["", "nonsense", "1 0", "x y"])
def test_what_cannot_be_read_limits_nothing(tmp_path, mine, text):
    assert groups(tmp_path, "", text) == mine


def test_the_group_may_be_the_outermost(tmp_path, mine):
    assert groups(tmp_path, "100000 100000", path="/") == 1
    assert groups(tmp_path, "max 100000", path="/") == mine


@pytest.mark.parametrize(
    ("quota", "most"), [("-1", None), ("100000", 1), ("50000", 0), ("x", None)]
)
def test_so_does_one_of_the_older_kind(tmp_path, mine, quota, most):
    folder = tmp_path / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_quota_us").write_text(quota + "\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert available(str(tmp_path / "none"), str(tmp_path)) == (mine if most is None else most)


def load(folder, running):
    file = folder / "loadavg"
    file.write_text(f"0.00 0.01 0.05 {running}/300 4711\n")
    return str(file)


def test_they_are_enough_while_no_more_threads_want_to_run(tmp_path):
    processors = Processors(2, load(tmp_path, 2))
    assert processors.are_enough(1.0)

    load(tmp_path, 3)
    assert processors.are_enough(1.0 + LOOK_S / 2)  # as seen just before
    assert not processors.are_enough(1.0 + LOOK_S)


def test_one_is_never_enough_for_two_sides(tmp_path):
    assert not Processors(1, load(tmp_path, 1)).are_enough(1.0)


@pytest.mark.parametrize("text", ["", "0.1 0.1 0.1", "0.1 0.1 0.1 x/y 1"])
def test_where_it_cannot_be_known_they_are_not_enough(tmp_path, text):
    file = tmp_path / "loadavg"
    file.write_text(text)
    assert not Processors(4, str(file)).are_enough(1.0)
    assert not Processors(4, str(tmp_path / "none")).are_enough(1.0)


def test_the_kernel_tells(mine):
    assert isinstance(Processors(10**6).are_enough(1.0), bool)
    assert Processors(10**6).are_enough(1.0)


# -- another one -----------------------------------------------------------------------------------
@pytest.fixture
def asked(monkeypatch):
    """Where this thread was to run, which may be at processors 3, 5 and 6, and is at 5."""
    found = []
    monkeypatch.setattr(processors, "_here", lambda: 5)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {3, 5, 6})
    monkeypatch.setattr("os.sched_setaffinity", lambda pid, those: found.append((pid, those)))
    return found


def test_a_thread_moves_and_then_may_run_where_it_might_before(asked):
    move()
    assert asked == [(0, {3, 6}), (0, {3, 5, 6})]


def test_who_may_run_at_one_only_stays(asked, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {5})
    move()
    assert asked == []


def test_where_it_may_not_be_told_it_stays(asked, monkeypatch):
    def refuse(_pid, those):
        asked.append(those)
        if len(those) == 2:
            raise PermissionError

    monkeypatch.setattr("os.sched_setaffinity", refuse)
    move()
    assert asked == [{3, 6}, {3, 5, 6}]


def test_its_own_processor_is_known(mine):
    allowed = os.sched_getaffinity(0)
    assert processors._here() in allowed
    move()
    assert os.sched_getaffinity(0) == allowed
