"""Tokens as they come: a generator method, read in three ways.

    for token in parrot.write("The iterator"): ...                      # a program
    async for token in agentd.aio(parrot).write("The iterator"): ...    # asyncio
    agentctl call parrot write "The iterator" --stream --raw            # a person

The agent is a very small language model, made from Python's own manual: which word follows two
others. The words are really chosen one by one; the time that a large model would think about each
of them is not: that is modelled by a pause.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import agentd


class Parrot(agentd.Agent):
    """Says what might stand in the manual."""

    def __init__(self, pause: float = 0.03) -> None:
        from pydoc_data.topics import topics  # here: the text need not travel with the class

        self.pause = pause
        self.follows: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        words = [word for text in topics.values() for word in prose(text)]
        for one, two, three in zip(words, words[1:], words[2:], strict=False):
            self.follows[one, two].append(three)
        self.made = 0
        self.closed = False

    def write(self, start: str, words: int = 24, seed: int = 0) -> Generator[str, None, None]:
        """Tokens that join to a text: the start, then so many words."""
        self.made, self.closed = 0, False
        chance = random.Random(seed)  # noqa: S311 - no secret
        last = ("", *start.split())[-2], start.rsplit(maxsplit=1)[-1]
        try:
            yield start
            for _ in range(words):
                time.sleep(self.pause)  # here a larger model would think
                if last not in self.follows:
                    last = chance.choice(list(self.follows))
                last = last[1], chance.choice(self.follows[last])
                self.made += 1
                yield f" {last[1]}"
        finally:  # at the end, and whenever the reader leaves
            self.closed = True

    def seen(self) -> tuple[int, bool]:
        """How many words it made for its last reader, and whether that stream has ended."""
        return self.made, self.closed


def prose(text: str) -> Iterator[str]:
    """The words of a text, without headings, code and quotes."""
    for paragraph in re.split(r"\n\s*\n", text):
        words = re.sub(r"[\"“”*`()\[\]]", "", paragraph).split()
        if len(words) >= 8 and paragraph[:1].isalpha() and all(map(is_word, words[:3])):
            yield from filter(is_word, words)


def is_word(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][\w.'\u2019-]*[.,;:]?", text) is not None


# -- the client -----------------------------------------------------------------------------------


def read_by_for(parrot: Parrot) -> None:
    head("1. for token in parrot.write(…)")
    times: list[float] = []
    began = time.monotonic()
    for token in parrot.write("The iterator"):
        times.append(time.monotonic() - began)
        print(token, end="", flush=True)
    first, last = times[0], times[-1]
    print(
        f"\n{len(times)} tokens; the first came after {first:.2f} s, the last after {last:.2f} s."
    )


async def read_by_async_for(parrots: list[Parrot]) -> None:
    head("2. async for token in agentd.aio(parrot).write(…), two agents at once")

    async def read(parrot: Parrot, seed: int) -> str:
        text = ""
        async for token in agentd.aio(parrot).write("A class", seed=seed):
            text += token
            print(".", end="", flush=True)
        return text

    began = time.monotonic()
    texts = await asyncio.gather(*(read(parrot, seed) for seed, parrot in enumerate(parrots)))
    print("", *texts, sep="\n")
    print(f"Both took {time.monotonic() - began:.2f} s together.")


def read_by_agentctl(parrot: Parrot, endpoint: str) -> None:
    head("3. agentctl call … --stream --raw, another program at the same daemon")
    name = agentd.handle(parrot).id[:8]
    command = ["agentctl", "--endpoint", endpoint]
    command += ["call", name, "write", "An exception", "--stream", "--raw"]
    print("$", shlex.join(command), flush=True)
    beside = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which(command[0], path=os.pathsep.join(beside))
    if found is None:
        raise RuntimeError("agentctl is not installed")
    subprocess.run([found, *command[1:]], check=True)  # it prints where we do


def leave_early(parrot: Parrot) -> None:
    head("4. Leaving early closes the generator where it runs")
    with closing(parrot.write("An exception", words=10_000)) as tokens:
        for _, token in zip(range(9), tokens, strict=False):
            print(token, end="", flush=True)
    made, closed = parrot.seen()
    print(f" …\nIt made {made:,} of 10,000 words; its finally has run: {closed}.")


def head(text: str) -> None:
    print(f"\n{text}")


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal loses a character, no more
    try:
        with ExitStack() as stack:
            client = stack.enter_context(agentd.connect())
            parrots = [Parrot(to_dist=True) for _ in range(2)]
            for parrot in parrots:
                handle = stack.enter_context(agentd.handle(parrot))  # deletes it at the end
                handle.wait(timeout=60)
            read_by_for(parrots[0])
            asyncio.run(read_by_async_for(parrots))
            read_by_agentctl(parrots[0], client.endpoint)
            leave_early(parrots[0])
    except (agentd.errors.AgentdError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"token_stream: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntoken_stream: interrupted", file=sys.stderr)
        return 130
    print("\nWith a daemon of your own:")
    print("  agentd serve --path examples &")
    print("  agentctl create token_stream:Parrot --name parrot")
    print("  agentctl call parrot write 'The iterator' --stream --raw")
    return 0


if __name__ == "__main__":
    sys.exit(main())
