"""A peer that speaks ZMTP 3.0 itself, and so can stop in the middle of anything."""

import os
import socket
import threading
import time

from agentd.protocol import local_versions, pack
from agentd.protocol.messages import Hello
from agentd.transport.process import host_identity, process_start
from benchmarks.hostile.zmtp import GREETING, READY, frame, message

__all__ = ["GREETING", "READY", "Polite", "RawPeer", "frame", "introduction", "message"]


def introduction() -> Hello:
    """What a client of this process says first."""
    mine = local_versions()
    pid = os.getpid()
    versions = (mine.protocol, mine.agentd, mine.python)
    return Hello(1, *versions, os.urandom(16), pid, host_identity(), process_start(pid))


class RawPeer:
    """A connection by a plain socket."""

    def __init__(self, endpoint: str, *, greet: bool = True, hello: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        try:
            self._meet(endpoint, greet=greet, hello=hello)
        except BaseException:
            self.socket.close()
            raise

    def _meet(self, endpoint: str, *, greet: bool, hello: bool) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                self.socket.connect(endpoint.removeprefix("ipc://"))
                break
            except BlockingIOError:  # as many wait to be accepted as may
                if time.monotonic() > until:
                    raise
                time.sleep(0.001)
        if greet:
            self.socket.sendall(GREETING)
            self.read(64)
            self.socket.sendall(frame(READY, command=True))
            self.read_frame()
        if greet and hello:
            self.socket.sendall(message(pack(introduction())))
            self.read_frame()

    def read(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            part = self.socket.recv(size - len(got))
            assert part, "the daemon closed the connection"
            got += part
        return got

    def read_frame(self) -> bytes:
        flags, size = self.read(2)
        if flags & 2:
            size = int.from_bytes(bytes([size]) + self.read(7), "big")
        return self.read(size)

    def send(self, data: bytes) -> bool:
        """False once the daemon has ended the connection."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def is_ended(self, limit: float = 30.0) -> bool:
        """Whether the daemon ends the connection, waiting for it; what comes is not kept."""
        self.socket.settimeout(limit)
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        self.socket.close()


class Polite:
    """A client that asks one thing after the other, and notes how long each took."""

    def __init__(self, ask, pause_s: float = 0.02) -> None:
        """``pause_s``: by default fewer than 200 questions a second, also beside `counters`."""
        ask()
        self._ask = ask
        self._pause_s = pause_s
        self._stop = threading.Event()
        self.took: list[float] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Polite":
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.perf_counter()
                self._ask()
                self.took.append(time.perf_counter() - began)
                time.sleep(self._pause_s)
        except BaseException as error:
            self.error = error

    def __exit__(self, *_raised) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "a polite client hangs"
        if self.error is not None:
            raise self.error
        assert self.took

    def p99(self) -> float:
        return sorted(self.took)[int(len(self.took) * 0.99)]
