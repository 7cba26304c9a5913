"""numpy arrays as plain data: their type, their shape and their bytes, nothing else of them.

Not among them are arrays of objects, which are pickles in disguise, and records. What arrives is
checked before anything is made of it: the bytes have to be exactly as many as the shape says.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any, Final

from agentd.errors import DecodeError

__all__ = ["is_array", "put_together", "take_apart"]

_DTYPE: Final = re.compile(
    r"[<>|=]?(b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU][1-9][0-9]{0,8}"
    r"|[mM]8(\[[0-9]{0,9}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)",
    re.ASCII,
)
_MAX_DIMENSIONS: Final = 32


def is_array(kind: type) -> bool:
    """Whether it is the type of arrays, or one of numpy's own numbers; numpy is not imported."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or kind.__module__ != "numpy":
        return False
    return kind is numpy.ndarray or issubclass(kind, numpy.generic)


def take_apart(value: Any) -> tuple[str, list[int], Any] | None:
    """Type, shape and bytes; ``None`` for an array that is more than its bytes."""
    dtype = value.dtype.str
    if not _DTYPE.fullmatch(dtype):
        return None
    return dtype, list(value.shape), value.tobytes()


def put_together(dtype: Any, shape: Any, content: Any, scalar: Any) -> Any:
    """The array, which can be written to; raises ``DecodeError``."""
    if type(dtype) is not str or not _DTYPE.fullmatch(dtype):
        raise DecodeError(f"{dtype!r:.80} is no type of an array that travels as plain data.")
    if type(shape) is not list or len(shape) > _MAX_DIMENSIONS:
        raise DecodeError("the shape of an array is a list of at most 32 numbers.")
    if not all(type(n) is int and 0 <= n < 1 << 62 for n in shape):
        raise DecodeError("the shape of an array has whole numbers from 0 on.")
    if type(content) is not bytes or type(scalar) is not bool or (scalar and shape):
        raise DecodeError("an array in codec 'data' should be [dtype, shape, bytes, scalar].")
    try:
        import numpy
    except ImportError:
        raise DecodeError("a numpy array arrived, and numpy is not installed here.") from None
    kind = numpy.dtype(dtype)
    if math.prod(shape) * kind.itemsize != len(content):
        raise DecodeError(
            f"an array of {shape} {dtype} has {math.prod(shape) * kind.itemsize} bytes, "
            f"not {len(content)}."
        )
    if not content:
        return numpy.zeros(shape, kind)
    found = numpy.frombuffer(bytearray(content), kind).reshape(shape)
    return found[()] if scalar else found
