"""Daemons of the test's own, killed in every way."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.doors import Door
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
def build() -> Iterator[Callable[..., Daemon]]:
    """``build(**settings)``: a daemon that is not started yet: a door has to be put in first."""
    built: list[Daemon] = []

    def _build(*, wait: bool = True, **settings: object) -> Daemon:
        built.append(Daemon(**settings))
        return built[-1]

    yield _build
    for one in built:
        one.end()


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Callable[..., Daemon]) -> Door:
    """What a daemon that listens on TCP, too, needs: ``open`` starts it. Nobody has a grant."""
    made = Door(tmp_path, build)
    monkeypatch.setenv("AGENTD_CONFIG_DIR", made.client)
    return made


@pytest.fixture
def place() -> Iterator[Place]:
    """A run folder for clients that start their embedded daemon."""
    one = Place()
    yield one
    one.end()
