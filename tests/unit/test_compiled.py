"""What the compiler of our wheels (mypyc) takes another way than Python, in what it compiles.

Each of these was met: the code runs, and fails where Python does not. The rest is found by the
tests that run against the wheel (``make test-wheel``).
"""

import ast

import pytest

from tests.wheel import HOOK, ROOT

FILES = [ROOT / name.lstrip("/") for name in HOOK["include"]]
TREES = {file: ast.parse(file.read_text()) for file in FILES if file.exists()}


def found(kind):
    return [(file, node) for file, tree in TREES.items() for node in ast.walk(tree)
            if isinstance(node, kind)]  # fmt: skip


def where(file, node):
    return f"{file.relative_to(ROOT)}:{node.lineno}"


def test_all_that_is_to_be_compiled_is_there():
    assert len(TREES) == len(FILES) > 30


def test_it_is_compiled_only_where_that_is_asked_for():
    """Who installs from the source needs no compiler."""
    assert HOOK["enable-by-default"] is False


def test_errors_of_different_types_have_different_names():
    """A name has the type of its first ``except`` in all others of the function."""
    wrong = []
    for file, function in found((ast.FunctionDef, ast.AsyncFunctionDef)):
        types = {}
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                types.setdefault(node.name, set()).add(ast.dump(node.type))
        wrong += [where(file, function) for each in types.values() if len(each) > 1]
    assert wrong == []


def test_base_classes_get_their_arguments_one_by_one():
    """``super().__init__(*args)`` hands over the tuple."""
    wrong = [
        where(file, call)
        for file, call in found(ast.Call)
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Call)
        and getattr(call.func.value.func, "id", "") == "super"
        and any(isinstance(arg, ast.Starred) for arg in call.args)
    ]
    assert wrong == []


def test_nobody_asks_a_compiled_class_for_its_slots():
    everything = {file: ast.parse(file.read_text()) for file in (ROOT / "agentd").rglob("*.py")}
    compiled = {node.name for _file, node in found(ast.ClassDef)}
    wrong = [
        where(file, node)
        for file, tree in everything.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "__slots__"
        and getattr(node.value, "id", "") in compiled
    ]
    assert wrong == []


def test_no_class_of_python_has_a_compiled_base():
    """It could not be made. So who derives from one is compiled, too."""
    compiled = {node.name for _file, node in found(ast.ClassDef)}
    wrong = [
        where(file, node)
        for file in (ROOT / "agentd").rglob("*.py")
        if file not in TREES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(getattr(base, "id", "") in compiled for base in node.bases)
    ]
    assert wrong == []


def test_no_compiled_class_may_be_false_by_its_base():
    """``if found`` asks only whether there is one: ``Extent.NEVER``, of a ``Flag``, was true."""
    false = {"Flag", "IntFlag", "IntEnum", "StrEnum", "int", "str", "bytes", "tuple", "list", "set"}
    wrong = [
        where(file, node)
        for file, node in found(ast.ClassDef)
        if false & {getattr(base, "id", getattr(base, "attr", "")) for base in node.bases}
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "name",
    [
        "agentd/worker/interrupt.py",  # that a call is to end is seen between two steps of Python
        "agentd/protocol/access.py",  # who may do what
        "agentd/protocol/checks.py",
        "agentd/server/gate.py",
        "agentd/keys/screening.py",
        "agentd/serialization/payloads.py",  # what may be unpickled
    ],
)
def test_what_must_not_depend_on_a_compiler_stays_python(name):
    file = ROOT / name
    assert file.exists()
    assert file not in TREES


def test_nothing_of_the_client_is_compiled():
    """What users hand over has whatever type they like, and is told so in our own words."""
    assert not [file for file in TREES if "client" in file.parts]
