"""Where a call's microseconds go: samples of client and worker, as text.

With py-spy if it is installed (it looks from outside, at all threads). Else with cProfile, in the
client alone: that shows what is called how often, but makes every Python call look expensive.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.child import command, home, private_environment
from benchmarks.system import Usage, kernel_s, threads

__all__ = ["Costs", "costs", "profile", "py_spy", "report"]

SAMPLES_PER_S = 500
TOP = 30
FILES = 12


class Costs(NamedTuple):
    """How often a function was on top of the stack, and how often on it at all."""

    total: int
    alone: Counter[str]
    inclusive: Counter[str]


def costs(stacks: Iterable[str]) -> Costs:
    """From lines of ``outer;inner;innermost count``, as py-spy's raw format has them."""
    total = 0
    alone: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        if not frames or not count.isdecimal():
            continue
        names = [_short(frame) for frame in frames.split(";")]
        total += int(count)
        alone[names[-1]] += int(count)
        for name in set(names):
            inclusive[name] += int(count)
    return Costs(total, alone, inclusive)


def _short(frame: str) -> str:
    """``send_locked (agentd/transport/sockets.py)``, without the folders before the package."""
    name, opened, place = frame.partition(" (")
    if not opened:
        return frame
    path = place.rstrip(")").partition(":")[0]
    for known in ("site-packages/", "benchmarks/", "agentd/"):
        _, found, rest = path.rpartition(known)
        if found:
            keep = "" if known == "site-packages/" else known
            return f"{name} ({keep}{rest})"
    return f"{name} ({Path(path).name})"


def report(title: str, found: Costs, us_per_call: float) -> Iterator[str]:
    """The functions by their own time, in microseconds of processor time a call."""
    yield f"{title}: {us_per_call:.1f} µs of processor time a call, {found.total:,} samples"
    if not found.total:
        return
    yield "      own    with callees"
    for name, count in found.alone.most_common(TOP):
        own = count / found.total
        all_ = found.inclusive[name] / found.total
        yield (
            f"  {own * us_per_call:6.1f} {own:5.1%}  {all_ * us_per_call:6.1f} {all_:5.1%}  {name}"
        )
    files: Counter[str] = Counter()
    for name, count in found.alone.items():
        files[name.partition(" (")[2].rstrip(")") or name] += count
    yield "  by file:"
    for name, count in files.most_common(FILES):
        own = count / found.total
        yield f"  {own * us_per_call:6.1f} {own:5.1%}  {name}"
    yield "  the most with callees:"
    for name, count in found.inclusive.most_common(TOP):
        all_ = count / found.total
        yield f"  {all_ * us_per_call:6.1f} {all_:5.1%}  {name}"


def py_spy() -> str | None:
    """The program, beside this interpreter or on the path."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def profile(row: str, seconds: float, sampler: str | None) -> Iterator[str]:
    """Do the work of that row and tell where the time goes."""
    if sampler is None:
        yield from _traced(row, seconds)
        return
    with (
        home() as folder,
        private_environment() as env,
        tempfile.TemporaryDirectory() as out,
        _Busy(row, seconds, folder, env) as busy,
    ):
        pids = busy.pids
        spies = {who: _spy(sampler, pid, seconds, Path(out) / who) for who, pid in pids.items()}
        before = {who: threads(pid) for who, pid in pids.items()}
        in_kernel = {who: kernel_s(pid) for who, pid in pids.items()}
        found = busy.work()
        calls = {who: found["own" if who == "client" else "calls"] for who in pids}
        spent = {who: _spent(before[who], threads(pid)) for who, pid in pids.items()}
        yield (
            f"{row}: {found['calls']:,} calls in {found['seconds']:.1f} s, "
            f"{found['seconds'] / found['calls'] * 1e6:.1f} µs each (being watched)"
        )
        if found["beside"]:
            yield f"  {found['beside']:7.2f} processors used by other client processes"
        for who, pid in pids.items():
            kernel = (kernel_s(pid) - in_kernel[who]) / calls[who]
            yield from _threads(who, spent[who], calls[who], kernel)
        for who, spy in spies.items():
            spy.wait()
            file = Path(out) / who
            stacks = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
            python = sum(used.cpu_s for t, used in spent[who].items() if not t.startswith("ZMQ"))
            yield ""
            yield from report(f"{who}, Python threads", costs(stacks), python / calls[who] * 1e6)


def _spent(before: dict[str, Usage], after: dict[str, Usage]) -> dict[str, Usage]:
    nothing = Usage(0.0, 0)
    return {thread: used.since(before.get(thread, nothing)) for thread, used in after.items()}


def _threads(who: str, spent: dict[str, Usage], calls: int, kernel_s: float) -> Iterator[str]:
    """What each thread used. ``kernel_s``: of all of them, a call."""
    total = Usage(sum(u.cpu_s for u in spent.values()), sum(u.wakeups for u in spent.values()))
    yield f"  {_per_call(total, calls)}  {who}, {kernel_s * 1e6:.1f} µs of it in the kernel"
    for thread, used in sorted(spent.items()):
        if used.cpu_s / calls >= 1e-7:
            yield f"    {_per_call(used, calls)}  {thread}"


def _per_call(used: Usage, calls: int) -> str:
    return (
        f"{used.cpu_s / calls * 1e6:7.1f} µs of processor time, {used.wakeups / calls:5.2f} waits"
    )


def _spy(sampler: str, pid: int, seconds: float, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sampler, "record", "--pid", str(pid), "--format", "raw", "--function"),
            *("--rate", str(SAMPLES_PER_S), "--duration", str(max(1, int(seconds)))),
            *("--nonblocking", "--output", str(file)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class _Busy:
    """The process that does the work."""

    def __init__(self, row: str, seconds: float, folder: str, env: dict[str, str]) -> None:
        job = {"row": row, "seconds": seconds}
        self._process = subprocess.Popen(
            command("busy", job, folder=folder),
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Busy:
        self.pids: dict[str, int] = self._told()
        return self

    def work(self) -> dict[str, Any]:
        """Let it work; how many calls it made, in which time."""
        self._go_on()
        return self._told()

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def _go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def _traced(row: str, seconds: float) -> Iterator[str]:
    yield f"{row}: by cProfile, the calling thread alone; py-spy shows all threads of both sides"
    with home() as folder, private_environment() as env:
        job = {"row": row, "seconds": seconds, "trace": True}
        done = subprocess.run(
            command("busy", job, folder=folder),
            env=env,
            input="\n\n",
            capture_output=True,
            text=True,
            check=True,
        )
    yield from done.stdout.splitlines()[2:]
