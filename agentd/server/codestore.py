"""Code that came with agents: kept once, by content, in the daemon's folder.

A bundle is a list of files, known by the SHA-256 of that list; a file is known by its own. What
clients say is checked: a file has the content that its name promises, a path stays in its folder.
Nothing is ever run here.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Hashable
from typing import Any, Final

import msgpack

from agentd.errors import AgentdError, ConfigError, ConnectionLost, Overloaded, ProtocolError
from agentd.transport.rundir import remove_folder

__all__ = ["CodeStore", "Stored"]

log = logging.getLogger("agentd.server")

MAX_FILES: Final = 1_000
MAX_FILE_BYTES: Final = 8 * 1024 * 1024
MAX_BUNDLE_BYTES: Final = 32 * 1024 * 1024
MAX_BYTES: Final = 256 * 1024 * 1024
"""Of all bundles together; those that no agent uses make room."""
AHEAD: Final = 8
"""Files asked for at once."""
WAIT_S: Final = 30.0
"""How long an agent waits for its code."""

Ready = Callable[[AgentdError | None], None]


class Stored:
    """One bundle, as far as it is here."""

    def __init__(self, code: bytes, sources: list[list[Any]], folder: str, *, local: bool) -> None:
        self.code = code
        self.sources = sources
        self.folder = folder
        self.local = local
        """Its files lie on this host, at the places that it names."""
        self.modules = {str(s[0]): bytes(s[1]) for s in sources if s[0]}
        self.missing = {bytes(s[1]) for s in sources if s[1]}
        self.size = 0
        self.waiting: list[Ready] = []
        self.users = 0
        """How many agents were made with it, and live."""

    @property
    def complete(self) -> bool:
        """Whether all of it is here."""
        return not self.missing


class CodeStore:
    """All bundles of a daemon. In the loop's thread."""

    def __init__(
        self,
        folder: str,
        later: Callable[[float, Callable[[], None]], Any],
        *,
        shared: bool = False,
    ) -> None:
        """``shared``: workers run as another user, who gets at it by ``descriptor`` alone.

        Then its modes let everybody read, while the folder around it lets nobody through.
        """
        self._folder = folder
        self._folder_mode, self._file_mode = (0o755, 0o644) if shared else (0o700, 0o600)
        self._later = later
        self._bundles: dict[bytes, Stored] = {}
        self._asked: dict[tuple[Hashable, bytes], set[bytes]] = {}
        self._bytes = 0

    def descriptor(self) -> int:
        """Of its folder, good for looking up what is in it; whoever calls this closes it."""
        self._make_folder(self._folder)
        return os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def get(self, code: bytes) -> Stored:
        """The bundle of that name; raises ``ConfigError`` if it was never offered here."""
        stored = self._bundles.get(code)
        if stored is None:
            raise ConfigError("the agent's code is not here: it was refused, or never offered")
        return stored

    # -- coming ------------------------------------------------------------------------------------
    def offer(self, who: Hashable, code: bytes, manifest: Any, *, local: bool) -> list[bytes]:
        """A client has a bundle; the files that it should send first."""
        if code not in self._bundles:
            raw = bytes(manifest)
            if hashlib.sha256(raw).digest() != code:
                raise ProtocolError("a bundle is named by the SHA-256 of its list of files")
            self._make_room()
            folder = os.path.join(self._folder, code.hex())
            self._make_folder(os.path.join(folder, "files"))
            stored = Stored(code, _read_manifest(raw), folder, local=local)
            self._bundles[code] = stored
            if stored.complete:
                self._finish(stored)
        self._asked[who, code] = set()
        return self.wanted(who, code, AHEAD)

    def wanted(self, who: Hashable, code: bytes, number: int = 1) -> list[bytes]:
        """Further files that this client should send."""
        asked = self._asked.get((who, code), set())
        stored = self._bundles.get(code)
        files = [] if stored is None else [f for f in sorted(stored.missing) if f not in asked]
        asked.update(files[:number])
        if not files:
            self._asked.pop((who, code), None)
        return files[:number]

    def supply(self, code: bytes, file: bytes, content: Any) -> None:
        """A file has come."""
        stored = self.get(code)
        if file not in stored.missing:
            return  # somebody else was faster
        raw = bytes(content)
        if len(raw) > MAX_FILE_BYTES or stored.size + len(raw) > MAX_BUNDLE_BYTES:
            raise Overloaded(
                f"code has at most {MAX_BUNDLE_BYTES:,} bytes, a file of it {MAX_FILE_BYTES:,}",
                limit=MAX_BUNDLE_BYTES,
            )
        if hashlib.sha256(raw).digest() != file:
            raise ProtocolError("a file is named by the SHA-256 of its content")
        for source in stored.sources:
            if source[1] == file:
                self._write(os.path.join(stored.folder, "files", source[2]), raw)
        stored.size += len(raw)
        self._bytes += len(raw)
        stored.missing.discard(file)
        if stored.complete:
            self._finish(stored)

    def _write(self, path: str, content: bytes) -> None:
        self._make_folder(os.path.dirname(path))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, self._file_mode)
            file.write(content)

    def _make_folder(self, folder: str) -> None:
        """With those above it, as far as they are missing; whatever the umask is."""
        if os.path.isdir(folder):
            return
        self._make_folder(os.path.dirname(folder))
        os.mkdir(folder, self._folder_mode)
        os.chmod(folder, self._folder_mode)

    def _finish(self, stored: Stored) -> None:
        told = {"local": stored.local, "sources": stored.sources}
        self._write(os.path.join(stored.folder, "manifest"), msgpack.packb(told))
        waiting, stored.waiting = stored.waiting, []
        for ready in waiting:
            ready(None)

    # -- using -------------------------------------------------------------------------------------
    def when_complete(self, stored: Stored, ready: Ready) -> None:
        """Call ``ready`` once: now, when all is here, or with the error that it never came."""
        if stored.complete:
            ready(None)
            return
        stored.waiting.append(ready)

        def give_up() -> None:
            if ready in stored.waiting:
                stored.waiting.remove(ready)
                ready(ConnectionLost(f"its code did not arrive within {WAIT_S:g} s"))

        self._later(WAIT_S, give_up)

    def forget_user(self, code: bytes) -> None:
        """An agent ended; its code stays until there is need of room."""
        stored = self._bundles.get(code)
        if stored is not None:
            stored.users -= 1

    def _make_room(self) -> None:
        if self._bytes < MAX_BYTES - MAX_BUNDLE_BYTES:
            return
        for stored in list(self._bundles.values()):
            if not stored.users and not stored.waiting:
                del self._bundles[stored.code]
                self._bytes -= stored.size
                remove_folder(stored.folder)
        if self._bytes >= MAX_BYTES - MAX_BUNDLE_BYTES:
            raise Overloaded(
                f"the code of this daemon's agents takes {self._bytes:,} bytes already; end some "
                "agents, or put their modules into a folder: agentd serve --path DIR",
                limit=MAX_BYTES,
            )


def _read_manifest(raw: bytes) -> list[list[Any]]:
    try:
        sources = msgpack.unpackb(raw, max_array_len=MAX_FILES, max_map_len=0)
    except Exception as error:  # many types for bad bytes; all mean the same
        raise ProtocolError("the list of a bundle's files cannot be read") from error
    if type(sources) is not list or not all(_is_source(source) for source in sources):
        raise ProtocolError("the list of a bundle's files is not one")
    return sources


def _is_source(source: Any) -> bool:
    if type(source) is not list or [type(v) for v in source] != [str, bytes, str, str, bool]:
        return False
    module, digest, path, _origin, is_package = source
    if module and not all(part.isidentifier() for part in module.split(".")):
        return False
    if len(digest) != 32 and not (digest == b"" and module and is_package):
        return False
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return bool(parts) and "\0" not in path and not path.startswith("/") and ".." not in parts
