"""Which modules go along with an agent."""

import sys

import pytest

from agentd.errors import ConfigError
from agentd.serialization import sources
from agentd.serialization.sources import bundle_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of modules on the path; ``folder.write(name, text)``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sources, "_known", {})
    before = set(sys.modules)

    def write(name, text=""):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(module):
    bundle = bundle_of(module, True)
    return set(bundle.modules) if bundle is not None else set()


FORMS = {
    "import one_mod": {"one_mod"},
    "import one_mod as other": {"one_mod"},
    "import os, one_mod, sys": {"one_mod"},
    "import pack.sub": {"pack", "pack.sub"},
    "from pack import sub": {"pack", "pack.sub"},
    "from pack import (\n    sub,  # why\n    absent,\n)": {"pack", "pack.sub"},
    "from one_mod import \\\n    VALUE": {"one_mod"},
    "def f():\n    from one_mod import VALUE": {"one_mod"},
    "if True: import one_mod": {"one_mod"},
    "x = 1; import one_mod": {"one_mod"},
    "from one_mod import *": {"one_mod"},
    "import no_such_module_at_all": set(),
    "import json, hypothesis, agentd": set(),
}


@pytest.mark.parametrize(("text", "more"), FORMS.items(), ids=FORMS)
def test_imports_are_followed_as_they_are_written(folder, text, more):
    folder("one_mod.py", "VALUE = 1")
    folder("pack/__init__.py")
    folder("pack/sub.py")
    folder("root_mod.py", text)
    assert names("root_mod") == {"root_mod", *more}


def test_relative_imports_and_the_packages_above(folder):
    folder("pack/__init__.py")
    folder("pack/deep/__init__.py", "from . import near")
    folder("pack/deep/near.py", "from ..far import VALUE\nfrom ... import outside")
    folder("pack/far.py", "VALUE = 1")
    assert names("pack.deep") == {"pack", "pack.deep", "pack.deep.near", "pack.far"}


def test_a_namespace_package(folder):
    folder("space/mod.py", "VALUE = 1")
    folder("root_mod.py", "import space.mod")
    bundle = bundle_of("root_mod", True)
    assert bundle.modules["space"] == b""
    assert "space.mod" in bundle.modules


def test_a_circle_ends(folder):
    folder("one_mod.py", "import two_mod")
    folder("two_mod.py", "import one_mod")
    assert names("one_mod") == {"one_mod", "two_mod"}


def test_nothing_is_imported_for_it(folder):
    folder("root_mod.py", "import breaks_mod")
    folder("breaks_mod.py", "raise RuntimeError")
    assert names("root_mod") == {"root_mod", "breaks_mod"}
    assert "breaks_mod" not in sys.modules


def test_an_installed_class_takes_nothing_along(folder):
    assert bundle_of("hypothesis", True) is None
    assert bundle_of("json", True) is None


def test_an_equal_content_is_an_equal_bundle_and_an_edit_another(folder, monkeypatch):
    folder("root_mod.py", "VALUE = 1")
    first = bundle_of("root_mod", True)
    monkeypatch.setattr(sources, "_known", {})
    assert bundle_of("root_mod", True).digest == first.digest
    folder("root_mod.py", "VALUE = 2")
    monkeypatch.setattr(sources, "_known", {})
    assert bundle_of("root_mod", True).digest != first.digest


def test_a_named_package_goes_whole(folder):
    folder("pack/__init__.py")
    folder("pack/unseen.py", "VALUE = 1")
    folder("pack/prompts/hello.txt", "hello")
    folder("pack/__pycache__/junk.pyc", "junk")
    folder("pack/.hidden", "secret")
    bundle = bundle_of("json", ("pack",))
    assert set(bundle.modules) == {"pack", "pack.unseen"}
    assert b"hello" in bundle.contents.values()
    assert b"junk" not in bundle.contents.values()
    assert b"secret" not in bundle.contents.values()


def test_nothing_if_so_told(folder):
    folder("root_mod.py")
    assert bundle_of("root_mod", False) is None


def test_what_cannot_be_found_is_told():
    with pytest.raises(ConfigError, match="'no_such_thing'"):
        bundle_of(None, ("no_such_thing",))


@pytest.mark.parametrize("limit", ["MAX_FILES", "MAX_FILE_BYTES", "MAX_BYTES"])
def test_too_much_is_refused_with_the_limit(folder, monkeypatch, limit):
    monkeypatch.setattr(sources, limit, 1)
    folder("one_mod.py", "VALUE = 1")
    folder("root_mod.py", "import one_mod")
    with pytest.raises(ConfigError, match="too much code"):
        bundle_of("root_mod", True)
