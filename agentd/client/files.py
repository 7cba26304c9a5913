"""``agentd.File``: a file that a method returns, and that its caller gets.

In the agent's code it names a file there. On its way it becomes a reference, ``(FILE, token, agent,
endpoint, epoch, name, size)``, and what the caller gets is that: the bytes follow when they are
asked for (see ``agentd.client.downloading``), and only who was given the token can ask.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from agentd.client.context import current
from agentd.client.references import FILE, active
from agentd.errors import DecodeError, SerializationError

if TYPE_CHECKING:
    import pathlib

__all__ = ["File", "FileReference", "Progress", "check_regular"]

Progress = Callable[[int, int], object]
"""Called with the bytes that are there and those of the whole file."""


class FileReference(NamedTuple):
    """A file of an agent's host, as it travels."""

    token: bytes
    """16 random bytes by which the agent's worker knows the file."""
    agent: bytes
    endpoint: str
    epoch: int
    name: str
    """Without folders."""
    size: int
    """In bytes."""

    def wire(self) -> tuple[Any, ...]:
        """As plain data."""
        return (FILE, *self)

    @classmethod
    def read(cls, wire: tuple[Any, ...]) -> FileReference:
        """Back; raises ``DecodeError`` for what is no reference to a file."""
        kinds = (bytes, bytes, str, int, str, int)
        _mark, *parts = wire
        if len(parts) != len(kinds) or not all(
            type(part) is kind for part, kind in zip(parts, kinds, strict=True)
        ):
            raise DecodeError("a reference to a file is malformed")
        found = cls(*parts)
        # The name becomes one of a file here: it must not lead out of the folder meant for it.
        if found.name in ("", ".", "..") or "/" in found.name or "\0" in found.name:
            raise DecodeError(f"a file cannot be named {found.name!r}")
        if len(found.token) != 16 or len(found.agent) != 16 or found.size < 0:
            raise DecodeError("a reference to a file is malformed")
        return found


class File:
    """A file that an agent returns: ``return agentd.File(path)``, anywhere in a result.

    The caller gets a ``File`` of that ``name`` and ``size`` (bytes). ``save()`` brings it here, as
    does the first use as a path (``open(file)``, ``os.fspath(file)``, ``file.path``). Handed on to
    another agent it is read there, from where it is. What is read is what was returned: a file that
    was changed or removed meanwhile, or returned more than an hour ago, is ``ResultExpired``.
    ``File(path)`` raises ``FileNotFoundError``, ``IsADirectoryError`` and other ``OSError``.
    """

    __slots__ = ("__weakref__", "_direct", "_lock", "_name", "_path", "maker", "reference")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = os.path.abspath(os.fspath(path))
        check_regular(text)
        call = current()
        self._become(text, None, None if call is None else (call.agent, call.epoch))

    def _become(
        self,
        path: str | None,
        reference: FileReference | None,
        maker: tuple[bytes, int] | None,
        *,
        direct: bool = True,
    ) -> Self:
        self._path = path
        self._name = os.path.basename(path) if reference is None and path else ""
        self._direct = direct
        self._lock = threading.Lock()  # protects the path of what is downloaded
        self.reference = reference
        """For a file that is elsewhere."""
        self.maker = maker
        """For a file that is here: the agent (id, epoch) in whose code this was made."""
        return self

    @classmethod
    def arrived(cls, wire: tuple[Any, ...], *, direct: bool = True) -> File:
        """The file behind a reference; ``direct=False``: read through the daemon."""
        return cls.__new__(cls)._become(None, FileReference.read(wire), None, direct=direct)

    @classmethod
    def of_agent(cls, path: str, found: FileReference) -> File:
        """A file that came back to the agent that returned it."""
        file = cls.__new__(cls)._become(path, None, (found.agent, found.epoch))
        file._name = found.name
        return file

    @property
    def name(self) -> str:
        """Its name, without folders."""
        return self._name if self.reference is None else self.reference.name

    @property
    def size(self) -> int:
        """In bytes."""
        if self.reference is not None:
            return self.reference.size
        return os.stat(self._here()).st_size

    @property
    def path(self) -> pathlib.Path:
        """The file here; downloaded on first use, to a private folder that goes with this process.

        Raises as ``save`` does.
        """
        return self._local(None, None)

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def save(
        self,
        to: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> pathlib.Path:
        """Write the file to ``to``, a path or a folder; where it is now.

        Without ``to``: as ``path``. ``progress(done, size)`` is called after each part, in bytes;
        what it raises ends the download. ``timeout`` is in seconds, for all of it. The target is
        replaced when all is there; if anything fails it stays as it was.

        Raises ``ResultExpired`` (it was changed, removed, or is not kept any more),
        ``AgentNotFound``, ``AgentCrashed``, ``CallTimeout``, a ``TransportError``, ``OSError``.
        """
        import pathlib

        if to is None:
            return self._local(progress, timeout)
        from agentd.client.saving import target_of, write

        target = target_of(os.fspath(to), self.name)
        write(self._chunks(timeout), target, self.size, progress)
        return pathlib.Path(target)

    async def asave(
        self,
        to: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> pathlib.Path:
        """``save`` for asyncio, in a thread; ``progress`` is called in the loop.

        Cancelled, the download ends with the part that is on its way.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        given_up = False

        def note(done: int, size: int) -> None:
            if given_up:
                raise asyncio.CancelledError
            if progress is not None:
                loop.call_soon_threadsafe(progress, done, size)

        try:
            return await asyncio.to_thread(self.save, to, note, timeout)
        except asyncio.CancelledError:
            given_up = True
            raise

    def _local(self, progress: Progress | None, timeout: float | None) -> pathlib.Path:
        import pathlib

        if self.reference is None:
            return pathlib.Path(self._here())
        with self._lock:
            if self._path is None or not os.path.exists(self._path):
                from agentd.client.saving import write
                from agentd.client.scratch import new_folder

                path = os.path.join(new_folder(), self.name)
                write(self._chunks(timeout), path, self.size, progress)
                self._path = path
            return pathlib.Path(self._path)

    def _here(self) -> str:
        assert self._path is not None
        return self._path

    def _chunks(self, timeout: float | None) -> Generator[Any, None, None]:
        if self.reference is None:
            from agentd.client.saving import chunks_of

            return chunks_of(self._here())
        from agentd.client.downloading import Download

        return Download(self.reference, timeout, direct=self._direct).chunks()

    # -- travelling --------------------------------------------------------------------------------
    def agentd_reference(self) -> tuple[Any, ...] | None:
        """The reference as which it travels; ``None`` for a file that is here."""
        return None if self.reference is None else self.reference.wire()

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.reference is None:
            raise SerializationError(
                "it names a file of this host: files travel from an agent to those who get its "
                "results, and no other way; read it, and send the bytes",
                culprit="agentd.File",
            )
        return _restore, (self.reference.wire(),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def _identity(self) -> Any:
        return self._path if self.reference is None else self.reference.token

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, File):
            return NotImplemented
        return bool(self._identity() == other._identity())

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        if self.reference is None:
            return f"<File {self._path!r}>"
        agent = self.reference.agent.hex()[:8]
        return f"<File {self.name!r} of agent {agent}, {self.size:,} bytes>"


def check_regular(path: str) -> None:
    """Raise ``OSError`` for what is not there, or not a file that can be read twice."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "A folder is not a file that can travel", path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Only regular files can travel", path)


def _restore(wire: tuple[Any, ...]) -> Any:
    return active().from_wire(tuple(wire))
