"""A proxy between two sockets that can do what bad networks do; standard library only.

    python chaos.py LISTEN TO    forward, and nothing else, until standard input ends

An address is the path of a unix socket, or ``host:port``.
"""

import asyncio
import contextlib
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

Way = Literal["up", "down"]
"""Up is from the client to the server."""
WAYS: tuple[Way, Way] = ("up", "down")
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""``SO_LINGER`` of 0 seconds."""


class Proxy:
    """Listens at one address and forwards to another. Every method may be called from any thread.

    What is delayed or stalled is kept, and arrives when that is over, as in a network that sends
    again what was lost.
    """

    def __init__(self, listen: str, to: str) -> None:
        self.listen, self.to = listen, to
        self.connections = 0
        """How many were accepted."""
        self.bytes: Counter[Way] = Counter()
        """How many were forwarded."""
        self.held = 0
        """Pieces taken and not forwarded yet."""
        self.latency: Counter[Way] = Counter()
        self.flows = {way: asyncio.Event() for way in WAYS}
        self._left: dict[Way, int] = {}
        self._open: dict[asyncio.Task[None], _Connection] = {}
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    # -- faults ------------------------------------------------------------------------------------
    def delay(self, seconds: float, *ways: Way) -> None:
        """Whatever comes from now on takes so much longer; both ways, unless told."""
        self._do(lambda: self.latency.update(dict.fromkeys(ways or WAYS, seconds)))

    def stall(self, *ways: Way) -> None:
        """Take bytes and connections, but forward nothing; both ways, unless told."""
        self._do(lambda: [self.flows[way].clear() for way in ways or WAYS])

    def reset(self) -> None:
        """Break all connections: RST for TCP. New ones may be made."""
        self._do(lambda: [one.abort() for one in self._open.values()])

    def half_close(self, way: Way) -> None:
        """Shut one direction of all connections down; the other one goes on."""
        self._do(lambda: [one.shut(way) for one in self._open.values()])

    def cut_after(self, count: int, way: Way) -> None:
        """Break the connection that carries byte number ``count`` from now on, once."""
        self._do(lambda: self._left.update({way: count}))

    def refuse(self) -> None:
        """Listen no more; connections that are open stay."""
        self._do(self._unlisten)

    def heal(self) -> None:
        """End all faults; what was held goes on."""

        async def heal() -> None:
            self.latency.clear()
            self._left.clear()
            for way in WAYS:
                self.flows[way].set()
            await self._listen()

        self._wait(heal())

    # -- beginning and end -------------------------------------------------------------------------
    def __enter__(self) -> Self:
        self._thread.start()
        self.heal()
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._unlisten()
            for task, connection in self._open.items():
                connection.abort()
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await asyncio.sleep(0)  # transports close in the turn after

        self._wait(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, action: Callable[[], object]) -> None:
        async def do() -> None:
            action()

        self._wait(do())

    def _wait(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            if self.listen.startswith("/"):
                self._server = await asyncio.start_unix_server(self._accept, self.listen)
            else:
                host, _, port = self.listen.rpartition(":")
                self._server = await asyncio.start_server(self._accept, host, int(port))

    def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            if self.listen.startswith("/"):
                Path(self.listen).unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = _Connection(self, reader, writer)
        task = self._loop.create_task(connection.run())
        self._open[task] = connection
        task.add_done_callback(self._open.pop)

    # -- for connections ---------------------------------------------------------------------------
    def allowed(self, way: Way, data: bytes) -> tuple[bytes, bool]:
        """What of it may pass, and whether the connection breaks then."""
        left = self._left.get(way)
        cut = left is not None and len(data) >= left
        if cut:
            data = data[:left]
            del self._left[way]
        elif left is not None:
            self._left[way] = left - len(data)
        self.bytes[way] += len(data)
        return data, cut


class _Connection:
    """One client and its connection to the server."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writers: dict[Way, asyncio.StreamWriter] = {"down": writer}
        self._shut: set[Way] = set()

    async def run(self) -> None:
        """Until both ways have ended."""
        try:
            reader, self._writers["up"] = await _connect(self._proxy.to)
        except OSError:
            self.abort()
            return
        try:
            await asyncio.gather(self._carry("up", self._reader), self._carry("down", reader))
        except asyncio.CancelledError:
            self.abort()
            raise
        for writer in self._writers.values():
            writer.close()  # once all is written

    async def _carry(self, way: Way, reader: asyncio.StreamReader) -> None:
        """Read ahead, as it is not to be seen from outside that nothing is forwarded."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        forwarding = asyncio.create_task(self._forward(way, pieces))
        try:
            data = b"something"
            while data:
                try:
                    data = await reader.read(65536)
                except OSError:
                    data = b""
                due = asyncio.get_running_loop().time() + self._proxy.latency[way]
                self._proxy.held += 1
                pieces.put_nowait((due, data))
            await forwarding
        finally:
            forwarding.cancel()
            self._proxy.held -= pieces.qsize()

    async def _forward(self, way: Way, pieces: asyncio.Queue[tuple[float, bytes]]) -> None:
        proxy, writer, data = self._proxy, self._writers[way], b"something"
        while data:
            due, data = await pieces.get()
            try:
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                await proxy.flows[way].wait()
                if way in self._shut:
                    continue
                if not data:
                    self.shut(way)
                    return
                allowed, cut = proxy.allowed(way, data)
                writer.write(allowed)
                with contextlib.suppress(OSError):
                    await writer.drain()
                if cut:
                    self.abort()
            finally:
                proxy.held -= 1

    def shut(self, way: Way) -> None:
        """Nothing more comes this way."""
        self._shut.add(way)
        with contextlib.suppress(OSError, KeyError):
            self._writers[way].write_eof()

    def abort(self) -> None:
        """Break it, on both sides."""
        self._shut.update(WAYS)
        for writer in self._writers.values():
            peer = writer.get_extra_info("socket")
            if peer.family != socket.AF_UNIX and peer.fileno() >= 0:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()


async def _connect(to: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if to.startswith("/"):
        return await asyncio.open_unix_connection(to)
    host, _, port = to.rpartition(":")
    return await asyncio.open_connection(host, int(port))


if __name__ == "__main__":
    with Proxy(*sys.argv[1:]):
        print("ready", flush=True)
        sys.stdin.read()
