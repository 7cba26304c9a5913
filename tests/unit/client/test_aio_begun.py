"""What a thread begins for a task that is cancelled meanwhile."""

import asyncio
import threading

import pytest

from agentd.client.aio import _begun


@pytest.mark.parametrize("already", [True, False], ids=["begun", "not begun"])
def test_is_given_up_whether_it_was_begun_already_or_is_later(already):
    entered, go_on, given_up = threading.Event(), threading.Event(), []

    thing = object()

    def begin():
        entered.set()
        assert go_on.wait(30)
        return thing

    async def main():
        task = asyncio.create_task(_begun(begin, given_up.append))
        await asyncio.to_thread(entered.wait, 30)
        if already:
            go_on.set()
            while not task.done() and not given_up:
                task.cancel()
                await asyncio.sleep(0)
        else:
            task.cancel()
            await asyncio.sleep(0)
            go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())  # waits for its threads
    assert given_up
    assert all(each is thing for each in given_up)


def test_what_is_wanted_is_handed_over():
    given_up = []
    assert asyncio.run(_begun(lambda: 7, given_up.append)) == 7
    assert not given_up
