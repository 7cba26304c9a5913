"""CURVE by hand (RFC 26): a client that may say in its handshake whatever it likes."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from nacl.public import Box, PrivateKey, PublicKey

from benchmarks.hostile.zmtp import MORE, frame, greeting, read, read_frame

__all__ = ["DEALER", "CurveClient", "metadata"]

COMMAND = 2
"""In the flags of a sealed frame, which are not those of a plain one."""


def metadata(**named: bytes) -> bytes:
    """What a peer says of itself; ``Socket_Type`` stands for ``Socket-Type``."""
    said = b""
    for name, value in named.items():
        key = name.replace("_", "-").encode()
        said += bytes([len(key)]) + key + len(value).to_bytes(4, "big") + value
    return said


DEALER = metadata(Socket_Type=b"DEALER", Identity=b"")


class CurveClient:
    """The client's side of one connection. ``meet`` raises ``OSError`` if it is turned away."""

    def __init__(self, server: bytes, secret: bytes, said: bytes = DEALER) -> None:
        """``server`` is its public key, ``secret`` ours, ``said`` our metadata."""
        self._server = PublicKey(server)
        self._long = PrivateKey(secret)
        self._said = said
        self._short = PrivateKey.generate()
        self._count = 0
        self._box: Box

    def _nonce(self, prefix: bytes) -> tuple[bytes, bytes]:
        self._count += 1
        short = self._count.to_bytes(8, "big")
        return short, prefix + short

    def hello(self) -> bytes:
        """The first command: proves nothing yet."""
        short, nonce = self._nonce(b"CurveZMQHELLO---")
        box = Box(self._short, self._server).encrypt(bytes(64), nonce).ciphertext
        own = bytes(self._short.public_key)
        return frame(b"\x05HELLO\x01\x00" + bytes(72) + own + short + box, command=True)

    def initiate(self, welcome: bytes) -> bytes:
        """The second: who we are, for the one who sent that welcome."""
        opened = Box(self._short, self._server).decrypt(welcome[24:], b"WELCOME-" + welcome[8:24])
        theirs, cookie = PublicKey(opened[:32]), opened[32:]
        self._box = Box(self._short, theirs)
        long_nonce = os.urandom(16)
        vouch = bytes(self._short.public_key) + bytes(self._server)
        vouched = Box(self._long, theirs).encrypt(vouch, b"VOUCH---" + long_nonce).ciphertext
        told = bytes(self._long.public_key) + long_nonce + vouched + self._said
        short, nonce = self._nonce(b"CurveZMQINITIATE")
        box = self._box.encrypt(told, nonce).ciphertext
        return frame(b"\x08INITIATE" + cookie + short + box, command=True)

    def meet(self, connected: socket.socket) -> bytes:
        """The handshake; what the server says of itself."""
        connected.sendall(greeting(b"CURVE"))
        read(connected, 64)
        connected.sendall(self.hello())
        connected.sendall(self.initiate(read_frame(connected)))
        ready = read_frame(connected)
        if not ready.startswith(b"\x05READY"):
            raise ConnectionRefusedError(ready[:40].decode(errors="replace"))
        return self._box.decrypt(ready[14:], b"CurveZMQREADY---" + ready[6:14])

    def message(self, frames: Sequence[bytes], *, finished: bool = True) -> bytes:
        """A whole one, sealed, or one to which more is to come."""
        last = len(frames) - 1
        return b"".join(
            self._sealed(MORE if i < last or not finished else 0, f) for i, f in enumerate(frames)
        )

    def ping(self) -> bytes:
        """A heartbeat, to be answered at once."""
        return self._sealed(COMMAND, b"\x04PING\x00\x00")

    def _sealed(self, flags: int, body: bytes) -> bytes:
        short, nonce = self._nonce(b"CurveZMQMESSAGEC")
        box = self._box.encrypt(bytes([flags]) + body, nonce).ciphertext
        return frame(b"\x07MESSAGE" + short + box)

    def read(self, connected: socket.socket) -> list[bytes]:
        """The next message of the server; its heartbeats are passed over."""
        frames: list[bytes] = []
        while True:
            sealed = read_frame(connected)
            if not sealed.startswith(b"\x07MESSAGE"):
                continue
            opened = self._box.decrypt(sealed[16:], b"CurveZMQMESSAGES" + sealed[8:16])
            if opened[0] & COMMAND:  # PING, say
                continue
            frames.append(opened[1:])
            if not opened[0] & MORE:
                return frames
