"""Holds the table of docs/architecture.md, "Rooms": who may import whom."""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
ALL_BELOW = {"errors", "ids", "config", "protocol", "serialization", "transport", "keys"}

# room: (rooms that it may import beside itself, what it may import that is not ours)
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "errors": (set(), set()),
    "ids": (set(), set()),
    "_version": (set(), set()),
    "config": ({"errors"}, set()),
    "auditlog": (set(), set()),
    "printable": (set(), set()),
    "protocol": ({"errors", "ids"}, {"msgpack"}),
    "serialization": ({"errors", "printable"}, {"msgpack", "dill", "numpy"}),
    "transport": ({"errors", "ids"}, {"zmq"}),
    "keys": ({"errors", "protocol", "transport"}, set()),
    "client": (ALL_BELOW, {"msgpack", "dill", "keyring", "pydantic_core"}),
    "server": (
        {"errors", "ids", "config", "auditlog", "printable", "protocol", "transport", "keys"},
        {"msgpack"},
    ),
    "worker": (ALL_BELOW | {"client"}, {"msgpack", "dill"}),
    # The front door shows what the client has; mypy alone imports its plugin.
    "__init__": (ALL_BELOW | {"client", "worker"}, set()),
    "mypy_plugin": (set(), {"mypy"}),
}

# Parts of the standard library that a room must do without.
NEVER: dict[str, set[str]] = {
    "protocol": {"asyncio", "datetime", "pickle", "select", "socket", "threading", "time"},
    "serialization": {"asyncio", "select", "socket"},
    "server": {"marshal", "pickle", "shelve"},
}

# Heavy or rarely needed: only inside functions, so that `import agentd` stays fast.
LAZY = {"dill", "keyring", "numpy", "pydantic_core", "rich"}


class Import(NamedTuple):
    """One import of one module, and where it stands."""

    module: str
    name: str | None
    line: int
    at_top: bool


def imports_of(file: Path) -> list[Import]:
    """All imports of a file, those inside functions and for types too."""
    return list(_found(ast.parse(file.read_text(encoding="utf-8")), at_top=True))


def _found(node: ast.AST, *, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, None, child.lineno, at_top)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                yield Import(child.module or "", alias.name, child.lineno, at_top)
        inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        only_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        yield from _found(child, at_top=at_top and not inside and not only_types)


def room_of(found: Import) -> str | None:
    """The room that is imported, ``__init__`` for agentd itself, None for what is not ours."""
    first, *rest = found.module.split(".")
    if first != "agentd":
        return None
    if rest:
        return rest[0]
    return found.name if found.name in ROOMS else "__init__"


def wrong_imports(room: str, found: list[Import]) -> Iterator[str]:
    """What of a room's imports the tables do not allow, a sentence each."""
    rooms, foreign = ROOMS[room]
    for each in found:
        target, top = room_of(each), each.module.split(".")[0]
        if target is not None:
            if target not in rooms | {room, "_version"}:  # one plain value, free for all
                yield f"line {each.line}: {room} may not import agentd.{target}"
        elif top in NEVER.get(room, set()):
            yield f"line {each.line}: {room} may not import {top}"
        elif top not in sys.stdlib_module_names and top not in foreign:
            yield f"line {each.line}: {room} may not import {top}"
        elif top in LAZY and each.at_top:
            yield f"line {each.line}: {top} may be imported inside functions only"


def files_of(folder: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("file", files_of("agentd"))
def test_a_room_imports_only_what_the_table_allows(file):
    room = Path(file).parts[1].removesuffix(".py")
    assert room in ROOMS, f"{file} is in no room of the table: docs/architecture.md first"
    assert list(wrong_imports(room, imports_of(ROOT / file))) == []


@pytest.mark.parametrize("file", files_of("cli/agentd_cli"))
def test_the_commands_use_only_public_names(file):
    allowed = {"agentd", "agentd.auditlog", "agentd.config", "agentd.errors", "agentd.keys"}
    if file.endswith("agentd_cli/serve.py"):
        allowed.add("agentd.server.daemon")
    for each in imports_of(ROOT / file):
        if each.module.split(".")[0] == "agentd":
            assert each.module in allowed, f"line {each.line}"
            assert not (each.name or "").startswith("_"), f"line {each.line}"
            assert not each.at_top, f"line {each.line}: agentctl --help would pay for it"
        assert not (each.module.split(".")[0] in LAZY and each.at_top), f"line {each.line}"


@pytest.mark.parametrize(
    ("room", "source", "wrong"),
    [
        ("server", "import pickle", "may not import pickle"),
        ("server", "def f():\n import dill", "may not import dill"),
        ("server", "import zmq", "may not import zmq"),
        (
            "server",
            "from agentd.serialization import ladder",
            "may not import agentd.serialization",
        ),
        ("server", "from agentd import client", "may not import agentd.client"),
        ("client", "from agentd.worker.host import Host", "may not import agentd.worker"),
        ("worker", "import agentd.server.router", "may not import agentd.server"),
        ("protocol", "from time import monotonic", "may not import time"),
        ("serialization", "import dill", "inside functions only"),
        ("errors", "import agentd", "may not import agentd.__init__"),
    ],
)
def test_the_check_itself_sees(room, source, wrong):
    [sentence] = wrong_imports(room, list(_found(ast.parse(source), at_top=True)))
    assert wrong in sentence


def test_no_module_called_cli_is_installed():
    found = importlib.util.find_spec("cli")
    # From the root of the repository the folder is a namespace of no file: not installed.
    assert found is None or found.origin is None
