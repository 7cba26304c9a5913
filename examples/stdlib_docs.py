"""What the documentation of the standard library says: read as source, a module at a time.

Beside `librarian.py`, which imports it. An agent of that program is made in a worker, where nobody
can import this module; it travels along.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


class Entry(NamedTuple):
    module: str
    name: str  # within the module, empty for the module itself
    kind: str
    signature: str
    doc: str


# Read as source, never imported: that could open windows (tkinter), print (this) or start a
# browser (antigravity). Left out are tests and programs that only happen to be there.
NOT_LIBRARY = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "__pycache__"}

# Written in C, no source to read; importing these has no side effects. On the right, where people
# import the names from.
WRITTEN_IN_C = {
    **{
        name: name
        for name in "array atexit binascii builtins cmath errno fcntl gc grp itertools marshal "
        "math mmap pwd resource select sys syslog termios time unicodedata zlib".split()
    },
    "_asyncio": "asyncio",
    "_bisect": "bisect",
    "_bz2": "bz2",
    "_codecs": "codecs",
    "_collections": "collections",
    "_contextvars": "contextvars",
    "_csv": "csv",
    "_ctypes": "ctypes",
    "_datetime": "datetime",
    "_decimal": "decimal",
    "_elementtree": "xml.etree.ElementTree",
    "_functools": "functools",
    "_hashlib": "hashlib",
    "_heapq": "heapq",
    "_io": "io",
    "_json": "json",
    "_lzma": "lzma",
    "_operator": "operator",
    "_pickle": "pickle",
    "_queue": "queue",
    "_random": "random",
    "_signal": "signal",
    "_socket": "socket",
    "_sqlite3": "sqlite3",
    "_ssl": "ssl",
    "_stat": "stat",
    "_struct": "struct",
    "_thread": "threading",
    "_tracemalloc": "tracemalloc",
    "_uuid": "uuid",
    "_weakref": "weakref",
    "posix": "os",
}


def readers() -> list[tuple[str, Callable[[], Iterator[Entry]]]]:
    """Of each module its name, and what reads its entries."""
    return [
        *((name, partial(entries_of_source, name, path)) for name, path in source_files()),
        *((name, partial(entries_of_c, name, public)) for name, public in WRITTEN_IN_C.items()),
    ]


def source_files() -> list[tuple[str, Path]]:
    """The modules of the standard library that are written in Python: `(name, file)`."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, below, files in os.walk(root):
        below[:] = [d for d in below if d not in NOT_LIBRARY and d.isidentifier()]
        for file in files:
            path = Path(folder, file)
            parts = path.relative_to(root).with_suffix("").parts
            if path.suffix == ".py" and parts[0] in sys.stdlib_module_names:
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                found.append((name, path))
    return sorted(found)


def entries_of_source(module: str, path: Path) -> Iterator[Entry]:
    """Every docstring of a file: of the module, its classes, functions and methods."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # a few files are broken on purpose
        return
    if doc := ast.get_docstring(tree):
        yield Entry(module, "", "module", "", doc)
    yield from _entries_in(tree, module, "")


def _entries_in(parent: ast.Module | ast.ClassDef, module: str, prefix: str) -> Iterator[Entry]:
    for node in parent.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        name = f"{prefix}{node.name}"
        doc = ast.get_docstring(node)
        if isinstance(node, ast.ClassDef):
            if doc:
                yield Entry(module, name, "class", _constructor(node), doc)
            yield from _entries_in(node, module, f"{name}.")
        elif doc:
            kind = "method" if prefix else "function"
            yield Entry(module, name, kind, f"({ast.unparse(node.args)})", doc)


def _constructor(node: ast.ClassDef) -> str:
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return f"({ast.unparse(child.args)})"
    return ""


def entries_of_c(name: str, public: str) -> Iterator[Entry]:
    try:
        module = importlib.import_module(name)
    except ImportError:  # not on this platform, or not built
        return
    if doc := inspect.getdoc(module):
        yield Entry(public, "", "module", "", doc)
    yield from _entries_of(module, public, "")


def _entries_of(parent: ModuleType | type, module: str, prefix: str) -> Iterator[Entry]:
    for short, value in list(vars(parent).items()):
        if short.startswith("__") or not callable(value):
            continue
        is_class = isinstance(value, type)
        name = f"{prefix}{short}"
        if doc := inspect.getdoc(value):
            kind = "class" if is_class else "method" if prefix else "function"
            signature = _signature(value)
            first, _, rest = doc.partition("\n\n")
            if rest and f"{short}(" in first:  # much of C says there what it takes
                start = first.index(f"{short}(") + len(short)
                call = first[start : first.find(")", start) + 1]
                signature, doc = signature or call, rest
            yield Entry(module, name, kind, signature, doc)
        if is_class and not prefix and not issubclass(value, BaseException):
            yield from _entries_of(value, module, f"{name}.")


def _signature(value: Callable[..., Any]) -> str:
    try:
        return str(inspect.signature(value))
    except (ValueError, TypeError):  # not all of C says what it takes
        return ""
    except (AttributeError, NameError):  # or says it in words that do not resolve (select, 3.13)
        return ""


# -- words ----------------------------------------------------------------------------------------

# What a question is made of, and says nothing about the answer.
SMALL_WORDS = frozenset(
    "a all an and any are as at be by can do does for from get has have how i if in into is it its "
    "make may me my need not of on one or python should some that the their them then there this "
    "to use using want what when where which will with would you your".split()
)


def words_of(text: str) -> list[str]:
    """`readLine`, `read_line` and `read line` are the same two words."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.findall(r"[a-z]+[0-9]*|[0-9]+", text.lower())


def first_paragraph(doc: str) -> str:
    return " ".join(doc.strip().split("\n\n")[0].split())
