"""The kernel tells of a folder's files, and of a new folder in its place."""

import signal
import time

import pytest

from agentd.server.foldernotice import FolderNotice


@pytest.fixture
def told():
    """How often the signal came."""
    counted = []
    before = signal.signal(signal.SIGIO, lambda *_: counted.append(1))
    yield counted
    signal.signal(signal.SIGIO, before)


@pytest.fixture
def notice(told, tmp_path):
    made = FolderNotice(str(tmp_path / "place"))
    yield made
    made.close()


def comes(told):
    deadline = time.monotonic() + 30
    while not told and time.monotonic() < deadline:
        pass
    came = bool(told)
    told.clear()
    return came


def test_each_file_that_comes_changes_or_goes_is_told_of(notice, told, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    notice.follow()
    notice.follow()
    for _ in range(2):
        (place / "one.toml").write_text("x")
        assert comes(told)
        (place / "one.toml").rename(place / "two.toml")
        assert comes(told)
        (place / "two.toml").chmod(0o600)
        assert comes(told)
        (place / "two.toml").unlink()
        assert comes(told)


def test_a_folder_that_is_not_there_yet_or_another_one_is_followed_at_the_next_look(
    notice, told, tmp_path
):
    place = tmp_path / "place"
    notice.follow()
    place.mkdir()
    for _ in range(2):
        notice.follow()
        (place / "one.toml").write_text("x")
        assert comes(told)
        place.rename(tmp_path / f"old {time.monotonic_ns()}")
        place.mkdir()
