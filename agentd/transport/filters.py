"""Socket filters: the kernel drops what comes by a socket, before anybody is woken for it.

Classic BPF (socket(7), Linux 2.2), for which no privilege is needed.
"""

from __future__ import annotations

import array
import socket
import struct
from typing import Final

__all__ = ["drop_all", "drop_newcomers", "drop_nothing"]

_ATTACH: Final = 26  # SO_ATTACH_FILTER
_DETACH: Final = 27  # SO_DETACH_FILTER
_INSTRUCTION: Final = struct.Struct("=HBBI")
_PROGRAM: Final = struct.Struct("@HP")
_RETURN: Final = 0x06  # BPF_RET | BPF_K: so many bytes of the packet pass
_BYTE: Final = 0x30  # BPF_LD | BPF_B | BPF_ABS
_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_NOT_LESS: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_FLAGS: Final = 13  # where they are in a header of TCP
_SYN: Final = 0x02
_ACK: Final = 0x10
_RANDOM: Final = (-0x1000 + 56) % 2**32  # SKF_AD_OFF + SKF_AD_RANDOM
_ALL: Final = 2**32 - 1


def drop_all(found: socket.socket) -> bool:
    """Whatever comes is dropped; whether the system can do that."""
    return _attach(found, _INSTRUCTION.pack(_RETURN, 0, 0, 0))


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
    return _attach(listener, b"".join(_INSTRUCTION.pack(*each) for each in code))


def drop_nothing(found: socket.socket) -> bool:
    """Everything passes; whether something was dropped so far."""
    try:
        found.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
    except OSError:
        return False
    return True


def _attach(found: socket.socket, code: bytes) -> bool:
    held = array.array("B", code)  # tells its address, without ctypes, which takes long to import
    program = _PROGRAM.pack(len(code) // _INSTRUCTION.size, held.buffer_info()[0])
    try:
        found.setsockopt(socket.SOL_SOCKET, _ATTACH, program)
    except OSError:
        return False
    return True
