"""Coverage-guided fuzzing of the envelope, with atheris (which this project does not need else).

    pip install atheris
    python tests/fuzz/fuzz_envelope.py -runs=1000000 -max_len=4096

Ends with a traceback if ``unpack`` raises anything but ``ProtocolError``, or takes more memory than
``EXPANSION`` allows.
"""

import sys
import tracemalloc
from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["agentd.protocol"]):
    from agentd.errors import ProtocolError
    from agentd.protocol import HeaderLimits, unpack
    from agentd.protocol.envelope import MAGIC, MAX_HEADER_BYTES
    from agentd.protocol.scan import EXPANSION

LIMITS = HeaderLimits()


def one_input(data: bytes) -> None:
    """The first byte says what is done with the others."""
    if not data:
        return
    frames = [MAGIC + data[1:]] if data[0] & 1 else [data[1:]]
    if not data[0] & 2:
        read(frames)
        return
    # Twice, if need be: msgpack interns keys, and that table of the interpreter grows now and then.
    peak = min(peak_of(frames), peak_of(frames))
    assert peak <= EXPANSION * MAX_HEADER_BYTES, peak


def read(frames: list[bytes]) -> None:
    """Nothing but ``ProtocolError`` may come of it."""
    with suppress(ProtocolError):
        unpack(frames, LIMITS)


def peak_of(frames: list[bytes]) -> int:
    """The memory that it takes to read them, in bytes."""
    tracemalloc.start()
    try:
        read(frames)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
