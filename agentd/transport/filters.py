"""Socket filters: the kernel drops what comes by a socket, before anybody is woken for it.

Classic BPF (socket(7), Linux 2.2), for which no privilege is needed.
"""

from __future__ import annotations

import array
import socket
import struct
from collections.abc import Sequence
from typing import Final

__all__ = ["drop_data", "drop_newcomers", "drop_nothing"]

_ATTACH: Final = 26  # SO_ATTACH_FILTER
_DETACH: Final = 27  # SO_DETACH_FILTER
_INSTRUCTION: Final = struct.Struct("=HBBI")
_PROGRAM: Final = struct.Struct("@HP")
_RETURN: Final = 0x06  # BPF_RET | BPF_K: so many bytes of the packet pass
_BYTE: Final = 0x30  # BPF_LD | BPF_B | BPF_ABS
_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_LENGTH: Final = 0x80  # BPF_LD | BPF_W | BPF_LEN: of the packet, from the header of TCP on
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RIGHT: Final = 0x74  # BPF_ALU | BPF_RSH | BPF_K
_LEFT: Final = 0x64  # BPF_ALU | BPF_LSH | BPF_K
_KEEP: Final = 0x07  # BPF_MISC | BPF_TAX
_SAME: Final = 0x1D  # BPF_JMP | BPF_JEQ | BPF_X: as what was kept
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_NOT_LESS: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_OFFSET: Final = 12  # where it is in a header of TCP how many words that has, in the upper 4 bits
_FLAGS: Final = 13
_SYN: Final = 0x02
_ACK: Final = 0x10
_RANDOM: Final = (-0x1000 + 56) % 2**32  # SKF_AD_OFF + SKF_AD_RANDOM
_ALL: Final = 2**32 - 1


def drop_data(found: socket.socket) -> bool:
    """Whatever brings data by a connection is dropped; whether the system can do that.

    That the other end has read something, or has gone, passes.
    """
    code = (
        (_BYTE, 0, 0, _OFFSET),
        (_RIGHT, 0, 0, 4),
        (_LEFT, 0, 0, 2),
        (_KEEP, 0, 0, 0),
        (_LENGTH, 0, 0, 0),
        (_SAME, 0, 1, 0),
        (_RETURN, 0, 0, _ALL),
        (_RETURN, 0, 0, 0),
    )
    return _attach(found, code)


def drop_newcomers(listener: socket.socket, halvings: int) -> bool:
    """Of those who ask for a connection only one of ``2 ** halvings`` passes, by chance.

    What belongs to a connection passes: those that were made since have the filter, too.
    """
    code = (
        (_BYTE, 0, 0, _FLAGS),
        (_AND, 0, 0, _SYN | _ACK),
        (_EQUAL, 0, 2, _SYN),
        (_WORD, 0, 0, _RANDOM),
        (_NOT_LESS, 1, 0, 2 ** (32 - halvings)),
        (_RETURN, 0, 0, _ALL),
        (_RETURN, 0, 0, 0),
    )
    return _attach(listener, code)


def drop_nothing(found: socket.socket) -> bool:
    """Everything passes; whether something was dropped so far."""
    try:
        found.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
    except OSError:
        return False
    return True


def _attach(found: socket.socket, code: Sequence[tuple[int, int, int, int]]) -> bool:
    packed = b"".join(_INSTRUCTION.pack(*each) for each in code)
    held = array.array("B", packed)  # tells its address, without ctypes, which is slow to import
    program = _PROGRAM.pack(len(code), held.buffer_info()[0])
    try:
        found.setsockopt(socket.SOL_SOCKET, _ATTACH, program)
    except OSError:
        return False
    return True
