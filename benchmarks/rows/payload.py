"""Large values, there and back."""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

from benchmarks.contestants import Contestant
from benchmarks.goals import at_least
from benchmarks.rows.calls import check
from benchmarks.rows.row import Measure, Plan, Row, Values, more

__all__ = ["ARRAY", "LARGE", "SMALL"]

KIB, MIB = 1 << 10, 1 << 20


def _data(size: int, *, array: bool) -> Any:
    if array:
        import numpy as np

        return np.random.default_rng(7).random(size // 8)
    return random.Random(7).randbytes(size)  # noqa: S311 - only incompressible


def _same(a: Any, b: Any) -> bool:
    if isinstance(b, bytes | memoryview):
        return bytes(a) == bytes(b)
    return type(a) is type(b) and bool((a == b).all())


def _mb_per_s(one: Contestant, data: Any, size: int, seconds: float) -> float:
    """The payload's size by the time of its round trip; the median of several."""
    [agent] = one.create(1)
    check(_same(one.call(agent, "echo", data), data), "a large echo")
    took: list[float] = []
    began = time.perf_counter()
    while len(took) < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        answer = one.call(agent, "echo", data)
        took.append(time.perf_counter() - start)
        del answer
    one.delete([agent])
    return size / 1e6 / statistics.median(took)


def _measure(kinds: dict[str, tuple[int, bool]]) -> Measure:
    def measure(one: Contestant, plan: Plan) -> Values:
        found = {}
        for name, (whole, array) in kinds.items():
            size = plan.of(max(KIB, whole // 32), whole)
            found[name] = _mb_per_s(one, _data(size, array=array), size, plan.of(0.0, 0.6))
        return found

    return measure


SMALL = Row(
    "payload",
    "bytes there and back",
    (
        more("kib", "1 KiB bytes", "MB/s", 1, (at_least(5.6, "Pyro5"),), "Pyro5 5.6"),
        more("mib", "1 MiB bytes", "MB/s", 0, (at_least(1016, "Pyro5"),), "Pyro5 1,016"),
    ),
    _measure({"kib": (KIB, False), "mib": (MIB, False)}),
)
LARGE = Row(
    "large",
    "large bytes there and back",
    (
        more(
            "mib16",
            "16 MiB bytes",
            "MB/s",
            goals=(at_least(2 * 460, "2 × dask"),),
            peer="dask 460",
        ),
        more(
            "mib64",
            "64 MiB bytes",
            "MB/s",
            goals=(at_least(2 * 378, "2 × dask"),),
            peer="dask 378",
        ),
    ),
    _measure({"mib16": (16 * MIB, False), "mib64": (64 * MIB, False)}),
)
ARRAY = Row(
    "array",
    "a large array there and back",
    (
        more(
            "mib64",
            "64 MiB numpy array",
            "MB/s",
            goals=(at_least(2 * 731, "2 × dask"),),
            peer="dask 731, ray 698 (up to 3,282)",
        ),
    ),
    _measure({"mib64": (64 * MIB, True)}),
)
