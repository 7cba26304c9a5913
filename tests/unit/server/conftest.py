from collections.abc import Callable, Iterator

import pytest

from tests.unit.server.fakes import World


@pytest.fixture
def world(tmp_path) -> Iterator[Callable[..., World]]:
    """``world(**settings)``: the decisions of a daemon, without a daemon."""
    made: list[World] = []

    def make(*, enlisted: bool = True, **settings: object) -> World:
        made.append(World(tmp_path, **settings))
        if enlisted:
            made[-1].enlist_all()
        return made[-1]

    yield make
    for one in made:
        one.close()
