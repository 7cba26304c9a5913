"""Which methods of an agent are quick: those that have been so for a while."""

from __future__ import annotations

from typing import Final

__all__ = ["QUICK_S", "Pace"]

QUICK_S: Final = 0.0003
"""What a call may take to count as quick, in seconds: about three times what it costs to hand it to
a thread and back. Those of many agents run one after the other, also where they wait for a disk."""
PROOF: Final = 8
"""So many quick calls in a row, and a method counts as quick."""
LONGEST_PROOF: Final = 4096
"""After each call that took long, but for the first one of all, twice as many as the last time, up
to this."""
FORGIVEN: Final = 10_000
"""After so many quick calls in a row it is as if there had been none that took long."""
LOST_S: Final = 0.00002
"""What took long once in a while may have been the machine's doing: the thread had to wait for a
processor, which schedulers let others have for 3 to 4 ms each. It changes nothing while the others
lose no more than this to it, a call, on average."""
HICCUP_S: Final = 0.02
"""And no hiccup takes longer: by then another thread leads (see ``leading``)."""
_NONE: Final[dict[str, int]] = {}


class Pace:
    """By name of the method. From any thread; what two of them note at once may count as one."""

    __slots__ = ("_alike", "_least", "_needed", "_proof")

    def __init__(self, alike: set[str], least: int = PROOF) -> None:
        """``alike``: the methods that were quick last with other agents of the class.

        So a new agent's are taken to be. One set for all of them, and each adds and removes.
        ``least``: so many quick calls in a row, and a method counts as quick.
        """
        self._alike = alike
        self._least = least
        self._needed: dict[str, int] = {}
        """Quick calls until it counts as quick; below zero: since then."""
        self._proof = _NONE

    def __len__(self) -> int:
        """How many methods it knows something of."""
        return len(self._needed)

    def knows(self, name: str) -> bool:
        """Whether anything was noted of the method."""
        return name in self._needed

    def is_quick(self, name: str) -> bool:
        """Whether the method may be expected to be quick."""
        needed = self._needed.get(name)
        return name in self._alike if needed is None else needed <= 0

    def _still(self, name: str) -> int:
        needed = self._needed.get(name)
        if needed is None:
            return 0 if name in self._alike else self._least
        return needed

    def note(self, name: str, seconds: float) -> None:
        """A call of it took so long."""
        if seconds > QUICK_S:
            if seconds <= min(HICCUP_S, -self._still(name) * LOST_S):
                self._needed[name] = 0
                if name in self._proof:
                    fewer = max(self._least, self._proof[name] // 2)
                    self._proof = {**self._proof, name: fewer}
                return
            if name not in self._needed and name not in self._alike:
                self._needed[name] = self._least  # the first one often imports something
                return
            proof = min(2 * self._proof.get(name, self._least), LONGEST_PROOF)
            self._proof = {**self._proof, name: proof}
            self._needed[name] = proof
            self._alike.discard(name)
            return
        needed = self._needed.get(name)
        needed = (self._still(name) if needed is None else needed) - 1
        if not needed:
            self._alike.add(name)
        if needed < -FORGIVEN:
            self._proof = {n: p for n, p in self._proof.items() if n != name}
            needed = 0
        self._needed[name] = needed
