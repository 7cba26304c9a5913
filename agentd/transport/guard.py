"""A process that refuses to read pickles, whatever in it would try to."""

from __future__ import annotations

import sys
from typing import Any

from agentd.errors import CodecNotAllowed

__all__ = ["refuse_pickles"]

_why: list[str] = []


def refuse_pickles(why: str) -> None:
    """From now on, and for good, every pickle that names a class or function fails to load.

    By an audit hook (PEP 578), which no code can take away again: it stops ``pickle``, dill, and
    whatever else is built on ``Unpickler.find_class``. What names nothing is data, and harmless.
    """
    if not _why:
        _why.append(why)
        sys.addaudithook(_hook)


def _hook(event: str, _args: tuple[Any, ...]) -> None:
    if event == "pickle.find_class":
        raise CodecNotAllowed(f"a pickle was refused: {_why[0]}", codec="pickle")
