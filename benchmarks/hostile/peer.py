"""The process of one hostile peer: started and ended by a measurement, which asks what it did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any, Self

from benchmarks.child import command
from benchmarks.hostile.lines import Target, line_to
from benchmarks.system import usage

__all__ = ["Burner", "Peer", "burn", "harm"]

END_S = 20.0


def harm(kind: str, target: dict[str, Any]) -> None:
    """Do it until SIGTERM comes; then tell how much was done."""
    from benchmarks.hostile.kinds import KINDS, Harm

    aim = Target(**target)
    doing = Harm(line_to(aim), aim)

    def tell(_number: int, _frame: object) -> None:
        print(json.dumps([doing.connections, doing.bytes]), flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, tell)
    print("READY", flush=True)
    KINDS[kind][1](doing)


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

    def end(self) -> str:
        """Its last word."""
        self.process.terminate()
        said, _ = self.process.communicate(timeout=END_S)
        return str(said)

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

    def end(self) -> str:
        """See ``Child``; a peer that did nothing is an error of the measurement."""
        said = super().end()
        connections, sent = json.loads(said or "[0, 0]")
        if not connections:
            raise RuntimeError("a hostile peer never got as far as a connection")
        self.connections, self.bytes = connections, sent
        return said
