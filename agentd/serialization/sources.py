"""Which modules an agent needs that its daemon does not have: found by what sources import.

From the module of the class, and from the program's own, import statements are followed as they
are written, inside functions too, to every module that lies neither in the standard library nor in
``site-packages``. Nothing is imported for it. Files are taken as they are now.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from typing import Any, Final, NamedTuple

import msgpack

from agentd.errors import ConfigError
from agentd.serialization.importable import is_foreign, is_installed

__all__ = ["MAX_BYTES", "MAX_FILES", "MAX_FILE_BYTES", "Bundle", "bundle_of"]

MAX_FILES: Final = 1_000
MAX_FILE_BYTES: Final = 8 * 1024 * 1024
MAX_BYTES: Final = 32 * 1024 * 1024
"""Of one agent's code. More is data, which belongs on the daemon's host."""
FRESH_S: Final = 1.0
"""How long it is not looked at files again: agents are made by the thousand."""
_IGNORED: Final = ("__pycache__",)
_IMPORT: Final = re.compile(
    rb"(?:^|[;:])[ \t]*(?:import[ \t]+(?P<plain>[\w. \t,]+)"
    rb"|from[ \t]+(?P<base>[.\w]+)[ \t]+import[ \t]*(?P<names>\([^)]*\)|[\w. \t,*]+))",
    re.MULTILINE,
)


class Source(NamedTuple):
    """One file of a bundle."""

    module: str
    """Dotted name; empty for a file that is no module."""
    digest: bytes
    """SHA-256 of the content; empty for a package without a file (a namespace)."""
    path: str
    """Relative, with slashes: where it lies among the others."""
    origin: str
    """Where it lies here."""
    is_package: bool


class Bundle:
    """The code of one agent, known by the SHA-256 of its list of files."""

    def __init__(self, sources: Iterable[Source], contents: dict[bytes, bytes]) -> None:
        ordered = sorted(sources)
        self.manifest: bytes = msgpack.packb([list(source) for source in ordered])
        self.digest = _sha256(self.manifest)
        self.modules = {source.module: source.digest for source in ordered if source.module}
        self.contents = contents
        """By digest."""


def bundle_of(module: str | None, ship: bool | tuple[str, ...]) -> Bundle | None:  # noqa: FBT001
    """The code that goes along with a class of that module; ``None`` if none does.

    ``ship``: True for what is found, False for nothing, or names of modules and packages (those
    with all their files) that go along as well. Raises ``ConfigError``.
    """
    if ship is False:
        return None
    found = module is not None and is_foreign(module)
    roots = tuple(dict.fromkeys((module, "__main__"))) if found else ()
    named = ship if isinstance(ship, tuple) else ()
    if not roots and not named:
        return None
    known = _known.get((roots, named))
    if known is not None and time.monotonic() - known[0] < FRESH_S:
        return known[1]
    search = _Search()
    for name in roots:
        search.follow(str(name))
    for name in named:
        search.take_whole(name)
    bundle = search.bundle()
    _known[roots, named] = (time.monotonic(), bundle)
    return bundle


_known: dict[tuple[Any, Any], tuple[float, Bundle | None]] = {}


class _Search:
    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}
        self._contents: dict[bytes, bytes] = {}
        self._bytes = 0
        self._specs: dict[str, ModuleSpec | None] = {}

    def bundle(self) -> Bundle | None:
        return Bundle(self._sources.values(), self._contents) if self._sources else None

    # -- following imports -------------------------------------------------------------------------
    def follow(self, root: str) -> None:
        """Take a module and all that it leads to. Of ``__main__`` only the latter."""
        todo = [root]
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if name == "__main__":
                found = _main_source()
            else:
                if parent := name.rpartition(".")[0]:
                    todo.append(parent)
                found = self._take(name)
            if found is not None:
                package, text = found
                todo.extend(_imports(text, package))

    def _take(self, name: str) -> tuple[str, bytes] | None:
        """Add the module, if the peer lacks it; its package and its text."""
        spec = self._spec(name)
        if spec is None or not _is_foreign_spec(name, spec):
            return None
        return self._add(name, spec)

    def _add(self, name: str, spec: ModuleSpec) -> tuple[str, bytes] | None:
        is_package = spec.submodule_search_locations is not None
        if not spec.origin or not spec.has_location:
            if is_package:
                path = name.replace(".", "/")
                self._sources[path] = Source(name, b"", path, "", is_package)
            return None
        if not spec.origin.endswith(".py"):
            return None
        loader: Any = spec.loader
        try:
            text: bytes = loader.get_data(getattr(loader, "path", spec.origin))
        except OSError:
            return None
        path = name.replace(".", "/") + ("/__init__.py" if is_package else ".py")
        self._put(Source(name, _sha256(text), path, spec.origin, is_package), text)
        return (name if is_package else name.rpartition(".")[0]), text

    def _put(self, source: Source, content: bytes) -> None:
        if len(content) > MAX_FILE_BYTES:
            raise _too_much(f"{source.origin} has {len(content):,} bytes", MAX_FILE_BYTES)
        if source.path not in self._sources:
            self._bytes += len(content)
        self._sources[source.path] = source
        self._contents[source.digest] = content
        if len(self._sources) > MAX_FILES:
            raise _too_much(f"there are more than {MAX_FILES:,} files", MAX_BYTES)
        if self._bytes > MAX_BYTES:
            raise _too_much(f"together they have {self._bytes:,} bytes", MAX_BYTES)

    def _spec(self, name: str) -> ModuleSpec | None:
        """How the import system would find it; nothing is imported."""
        if name not in self._specs:
            parent = name.rpartition(".")[0]
            path = None
            if parent:
                above = self._spec(parent)
                path = None if above is None else above.submodule_search_locations
            self._specs[name] = None if parent and path is None else _find(name, path)
        return self._specs[name]

    # -- whole packages ----------------------------------------------------------------------------
    def take_whole(self, name: str) -> None:
        """A module, or a package with all its files, wherever it lies."""
        spec = self._spec(name)
        if spec is None:
            raise ConfigError(
                f"to_dist: ship names {name!r}, which cannot be imported here", key="ship"
            )
        self.follow(name)
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            one = ".".join(parts[:end])
            above = self._spec(one)
            if above is not None:
                self._add(one, above)
        for folder in spec.submodule_search_locations or ():
            for relative, file in _files_under(folder):
                self._take_file(name, relative, file)

    def _take_file(self, package: str, relative: str, file: str) -> None:
        path = f"{package.replace('.', '/')}/{relative}"
        if path in self._sources:
            return
        with open(file, "rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
        stem, ending = os.path.splitext(path)
        is_package = os.path.basename(stem) == "__init__"
        dotted = (os.path.dirname(stem) if is_package else stem).replace("/", ".")
        is_module = ending == ".py" and all(part.isidentifier() for part in dotted.split("."))
        digest = _sha256(content)
        self._put(
            Source(dotted if is_module else "", digest, path, file, is_module and is_package),
            content,
        )


def _too_much(what: str, limit: int) -> ConfigError:
    return ConfigError(
        f"too much code to send along with an agent: {what}, at most {limit:,} bytes are sent; "
        'name less in to_dist={"ship": [...]}, or use ship=False and `agentd serve --path DIR`',
        key="ship",
    )


def _files_under(folder: str) -> Iterator[tuple[str, str]]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in _IGNORED and not f.startswith("."))
        for file in sorted(files):
            if not file.startswith(".") and not file.endswith((".pyc", ".pyo")):
                full = os.path.join(where, file)
                yield os.path.relpath(full, folder).replace(os.sep, "/"), full


def _find(name: str, path: Any) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = None if find is None else find(name, path, None)
        except Exception:  # noqa: BLE001, S112 - a finder's own trouble: another may know it
            continue
        if spec is not None:
            return spec  # type: ignore[no-any-return]
    return None


def _is_foreign_spec(name: str, spec: ModuleSpec) -> bool:
    if name.partition(".")[0] in ("agentd", "agentd_cli") or spec.origin in ("built-in", "frozen"):
        return False
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    return bool(places) and not any(is_installed(str(place)) for place in places)


def _main_source() -> tuple[str, bytes] | None:
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if not isinstance(file, str) or is_installed(os.path.abspath(file)):
        return None
    try:
        with open(file, "rb") as opened:
            return getattr(main, "__package__", None) or "", opened.read(MAX_FILE_BYTES)
    except OSError:
        return None


def _imports(text: bytes, package: str) -> Iterator[str]:
    """Names that may be modules; what stands in a text or a comment may be among them."""
    for match in _IMPORT.finditer(text.replace(b"\\\n", b" ")):
        plain, base, names = match.group("plain", "base", "names")
        if plain is not None:
            for one in plain.decode("ascii", "replace").split(","):
                if words := one.split():
                    yield words[0]
            continue
        origin = _absolute(base.decode("ascii", "replace"), package)
        if origin is None:
            continue
        yield origin
        for one in re.sub(rb"#[^\n]*", b"", names).decode("ascii", "replace").split(","):
            words = one.strip("() \t\r\n").split()
            if words and words[0].isidentifier():
                yield f"{origin}.{words[0]}"


def _absolute(name: str, package: str) -> str | None:
    """``..a`` as seen from a package; ``None`` if it leads out of it."""
    tail = name.lstrip(".")
    up = len(name) - len(tail)
    if up == 0:
        return name
    parts = package.split(".") if package else []
    if up > len(parts):
        return None
    base = ".".join(parts[: len(parts) - up + 1])
    return f"{base}.{tail}" if tail else base


def _sha256(content: bytes) -> bytes:
    import hashlib  # 3 ms, which a worker need not wait for

    return hashlib.sha256(content).digest()
