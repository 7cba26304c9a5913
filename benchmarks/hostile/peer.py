"""The process of one hostile peer: started and ended by a measurement."""

from __future__ import annotations

import signal
import subprocess
from typing import Any, Self

from benchmarks.child import command
from benchmarks.hostile.lines import Target, line_to
from benchmarks.system import usage

__all__ = ["Burner", "Peer", "burn", "harm"]

BEGIN_S = 20
"""Where connections came to nothing by the hundred, one that comes next may have to ask again for
some seconds: it does no harm before, and is not measured."""
END_S = 20.0


def harm(kind: str, target: dict[str, Any]) -> None:
    """Do it until SIGTERM comes."""
    from benchmarks.hostile.kinds import KINDS, Harm

    def begins() -> None:
        signal.alarm(0)
        print("READY", flush=True)

    signal.alarm(BEGIN_S)
    aim = Target(**target)
    KINDS[kind][1](Harm(line_to(aim), aim, begins))


def burn(share: float) -> None:
    """Use a share of a core."""
    from benchmarks.hostile.kinds import burn

    print("READY", flush=True)
    burn(share)


class Child:
    """A process that goes on until it is left."""

    def __init__(self, what: str, **job: Any) -> None:
        self.process = subprocess.Popen(
            command(what, job), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        if self._line() != "READY\n":
            self.end()
            raise RuntimeError(f"{what} did not start")

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def cpu_s(self) -> float:
        """Processor time so far."""
        return usage([self.process.pid]).cpu_s

    def end(self) -> None:
        """It does no more."""
        self.process.terminate()
        self.process.communicate(timeout=END_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Burner(Child):
    """A neighbour that uses a share of a core, and harms nobody."""

    def __init__(self, share: float) -> None:
        super().__init__("burn", share=share)


class Peer(Child):
    """A hostile peer."""

    def __init__(self, kind: str, target: Target) -> None:
        super().__init__("harm", kind=kind, target=target._asdict())
