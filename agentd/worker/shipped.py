"""Modules that came along with agents: importable in this worker, from the daemon's store.

A worker is given agents whose modules of one name are the same (``agentd.server.supervisor``), so
what is imported here is imported the usual way, by name, once.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import decode_source, spec_from_file_location
from typing import Any

import msgpack

__all__ = ["use"]


class _Loader:
    """Runs a stored source under the name of the file that it was.

    What ``importlib.abc.InspectLoader`` says, of which it is none: that takes 8 ms to import.
    """

    def __init__(self, path: str, origin: str, digest: bytes) -> None:
        self.path = path
        self.origin = origin
        self.digest = digest
        """SHA-256 of the source: see ``agentd.serialization.importable``."""

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual one."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Run it."""
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - as every loader does

    def get_data(self, path: str) -> bytes:
        """The module's own source, or another file beside it."""
        with open(self.path if path == self.origin else path, "rb") as file:
            return file.read()

    def get_source(self, fullname: str) -> str:
        """For tracebacks."""
        return decode_source(self.get_data(self.path))

    def get_code(self, fullname: str) -> types.CodeType:
        """Compiled anew: there is one process that reads it, or few."""
        return compile(self.get_data(self.path), self.origin, "exec", dont_inherit=True)

    def is_package(self, fullname: str) -> bool:
        """Whether it is an ``__init__``."""
        return os.path.basename(self.path) == "__init__.py"


class _Finder:
    """Knows the shipped modules by name."""

    def __init__(self) -> None:
        self._modules: dict[str, tuple[str, str, bytes, bool]] = {}
        self._used: set[bytes] = set()

    def use(self, folder: str, code: bytes) -> None:
        """Take the modules of a bundle."""
        if code in self._used:
            return
        folder = os.path.join(folder, code.hex())
        with open(os.path.join(folder, "manifest"), "rb") as file:
            manifest = msgpack.unpackb(file.read())
        for module, digest, path, origin, is_package in manifest["sources"]:
            if module:
                stored = os.path.join(folder, "files", path)
                # On the host they came from, files beside a module are found where they are.
                seen = origin if manifest["local"] and origin else stored
                self._modules.setdefault(module, (stored, seen, digest, is_package))
        self._used.add(code)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        """As the import system asks for it."""
        found = self._modules.get(fullname)
        if found is None:
            return None
        stored, seen, digest, is_package = found
        if not digest:  # a namespace
            # The rest of it may lie on this worker's own path, for agents that brought nothing.
            here = PathFinder.find_spec(fullname, path)
            more = [] if here is None else list(here.submodule_search_locations or ())
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [stored, *more]
            return spec
        folders = list(dict.fromkeys((os.path.dirname(seen), os.path.dirname(stored))))
        loader: Any = _Loader(stored, seen, digest)
        return spec_from_file_location(
            fullname,
            seen,
            loader=loader,
            submodule_search_locations=folders if is_package else None,
        )


_finder = _Finder()


def use(folder: str, code: bytes) -> None:
    """Make the modules of a bundle importable, before those of the path.

    ``folder``: that of all bundles, which is that of one daemon.
    """
    if _finder not in sys.meta_path:
        places = [i for i, finder in enumerate(sys.meta_path) if finder is PathFinder]
        sys.meta_path.insert(places[0] if places else len(sys.meta_path), _finder)
    _finder.use(folder, code)
