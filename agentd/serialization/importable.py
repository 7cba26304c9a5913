"""Which modules the other side has as well, and what a module's source says about it.

A class or function of an installed module travels by name. All others are *foreign* to the peer
and travel by value: those of ``__main__``, of a module made at run time, and of files that lie
neither in the standard library nor in ``site-packages``, such as the folder of a script.
"""

from __future__ import annotations

import functools
import os
import sys
import time
import weakref
from typing import Any, Final

__all__ = ["digest_of", "find_here", "is_foreign", "is_installed", "lookup", "module_here"]

_MAIN: Final = frozenset({"__main__", "__mp_main__"})
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_STDLIB: Final = os.path.realpath(os.path.dirname(os.__file__)) + os.sep

TICK_S: Final = 0.01
"""The start of a process is known to the tick of the kernel's clock, and an interpreter needs about
as long before it loads the first module of a user."""

# What was found out about a module, as long as that same module object is loaded.
_foreign: dict[str, tuple[weakref.ref[Any], bool]] = {}
_digests: dict[str, tuple[weakref.ref[Any], bytes]] = {}


def is_foreign(module_name: str | None) -> bool:
    """Whether a peer has to be expected not to have this module."""
    if module_name == "builtins":
        return False
    module = sys.modules.get(module_name) if isinstance(module_name, str) else None
    if module is None:
        return True
    assert module_name is not None
    known = _foreign.get(module_name)
    if known is not None and known[0]() is module:
        return known[1]
    answer = _judge(module_name, module)
    try:
        _foreign[module_name] = (weakref.ref(module), answer)
    except TypeError:
        pass  # A stand-in in sys.modules that takes no weak references: judged each time.
    return answer


def _judge(name: str, module: Any) -> bool:
    if name in _MAIN:
        return True
    if name.partition(".")[0] == "agentd":
        return False
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return True
    if spec.origin in ("built-in", "frozen"):
        return False
    file = getattr(module, "__file__", None) or spec.origin
    places = [file] if file else list(spec.submodule_search_locations or ())
    return not places or not all(is_installed(str(place)) for place in places)


def is_installed(file: str) -> bool:
    """Whether a file belongs to the standard library or to an installed package."""
    for path in {file, os.path.realpath(file)}:
        if path.startswith(_STDLIB) or any(mark in path for mark in _INSTALLED):
            return True
    return False


def lookup(module_name: str | None, qualname: str) -> Any:
    """What a loaded module has under that dotted name; ``None`` if there is nothing."""
    found: Any = sys.modules.get(module_name) if module_name is not None else None
    for part in qualname.split("."):
        if found is None:
            return None
        found = getattr(found, part, None)
    return found


def digest_of(module_name: str | None) -> bytes:
    """The SHA-256 of the source of a loaded module; empty if it is not known for certain.

    A file that was changed after this process started may be newer than the code that was loaded
    from it. Such a module has no digest: its classes travel by value, which is slower and right.
    """
    module = sys.modules.get(module_name) if module_name is not None else None
    if module is None:
        return b""
    assert module_name is not None
    known = _digests.get(module_name)
    if known is not None and known[0]() is module:
        return known[1]
    file = getattr(module, "__file__", None)
    digest = _digest_told(getattr(module, "__spec__", None))
    if not digest and isinstance(file, str) and _modified(file) < _started() + TICK_S:
        digest = _digest_file(file)
    return _note(module_name, module, digest)


def _digest_told(spec: Any) -> bytes:
    """Of a module that came along with an agent: its loader knows (``agentd.worker.shipped``)."""
    told = getattr(getattr(spec, "loader", None), "digest", b"")
    return told if type(told) is bytes else b""


def _note(module_name: str, module: Any, digest: bytes) -> bytes:
    try:
        _digests[module_name] = (weakref.ref(module), digest)
    except TypeError:
        pass  # As above.
    return digest


@functools.cache
def _started() -> float:
    """When this process started, in seconds since 1970: before any module of it was loaded."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            ticks = int(stat.read().rpartition(b")")[2].split()[19])
        running = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - running
    except (OSError, ValueError, AttributeError, IndexError):
        return 0.0  # Not known on this system: no file is old enough then.


def _modified(file: str) -> float:
    try:
        return os.stat(file).st_mtime
    except OSError:
        return float("inf")


def _digest_file(file: str) -> bytes:
    if not file.endswith(".py"):
        return b""
    import hashlib

    try:
        with open(file, "rb") as source:
            return hashlib.sha256(source.read()).digest()
    except OSError:
        return b""


def find_here(module_name: str, qualname: str, digest: bytes, *, may_import: bool) -> Any:
    """The definition of that name in this process, if it was made from the same source.

    Only loaded modules are looked at, unless ``may_import`` allows to load one from ``sys.path``.
    ``None`` if there is none.
    """
    if "<locals>" in qualname or module_here(module_name, digest, may_import=may_import) is None:
        return None
    return lookup(module_name, qualname)


def module_here(module_name: str, digest: bytes, *, may_import: bool) -> Any:
    """The module of that name in this process, if it was made from that source."""
    if not digest:
        return None
    if may_import:
        there = _is_loaded(module_name) or _load(module_name, digest)
    else:  # what there is of it: whoever imports it may wait for this very thread
        there = module_name in sys.modules
    return sys.modules.get(module_name) if there and digest_of(module_name) == digest else None


def _is_loaded(module_name: str) -> bool:
    """Whether the module is here, and whole: another thread may be importing it just now."""
    spec = getattr(sys.modules.get(module_name), "__spec__", None)
    return module_name in sys.modules and not getattr(spec, "_initializing", False)


def _load(module_name: str, digest: bytes) -> bool:
    """Import the module, or wait for who does, if its source has that digest."""
    import importlib.util

    try:
        spec = importlib.util.find_spec(module_name)
        if spec is None or not spec.origin:
            return False
        if (_digest_told(spec) or _digest_file(spec.origin)) != digest:
            return False
        module = importlib.import_module(module_name)
    except Exception:  # noqa: BLE001
        # Its own import fails here (a missing dependency, say): then it is not usable here, and
        # the definition that came along is taken instead.
        return False
    _note(module_name, module, _digest_told(spec) or _digest_file(spec.origin))
    return True
