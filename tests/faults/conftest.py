"""Daemons of the test's own, killed in every way."""

from collections.abc import Callable, Iterator

import pytest

from tests.faults.harness import Daemon, Place


@pytest.fixture
def start() -> Iterator[Callable[..., Daemon]]:
    """``start(**settings)``: a running daemon; its log must not tell of a defect."""
    started: list[Daemon] = []

    def _start(*, wait: bool = True, **settings: object) -> Daemon:
        one = Daemon(**settings)
        started.append(one)
        return one.start(wait=wait)

    yield _start
    for one in started:
        one.end()


@pytest.fixture
def place() -> Iterator[Place]:
    """A run folder for clients that start their embedded daemon."""
    one = Place()
    yield one
    one.end()
