"""What is installed, and what it costs to import."""

import os
import subprocess
import sys
import time
import zipfile

import pytest

from tests.acceptance.harness import ROOT


def seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def test_import_agentd_costs_at_most_half_more_than_what_it_needs():
    """At most 1.5 times ``import zmq, msgpack``. The least of many runs is hardly disturbed."""
    ours, theirs = [], []
    for attempt in range(40):
        ours.append(seconds("import agentd"))
        theirs.append(seconds("import zmq, msgpack"))
        if attempt >= 4 and min(ours) <= 1.5 * min(theirs):
            return
    pytest.fail(f"{min(ours):.3f} s against {min(theirs):.3f} s")


@pytest.mark.parametrize("module", ["dill", "click", "rich", "agentd_cli"])
def test_import_agentd_does_not_import(module):
    subprocess.run(
        [sys.executable, "-c", f"import sys, agentd; sys.exit({module!r} in sys.modules)"],
        check=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(
        [*command, "--directory", folder], cwd=ROOT, check=True, capture_output=True, timeout=60
    )
    [found] = folder.glob("*.whl")
    return found


def test_the_wheel_has_what_it_should_and_no_more(wheel):
    import agentd

    assert wheel.name == f"agentd_server-{agentd.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    info = f"agentd_server-{agentd.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"agentd", "agentd_cli", info}
    assert {"agentd/py.typed", "agentd_cli/py.typed", f"{info}/licenses/LICENSE"} <= set(names)
    assert all(name.endswith((".py", "py.typed")) for name in names if not name.startswith(info))
    modules = {
        str(file.relative_to(base))
        for base in (ROOT, ROOT / "cli")
        for package in ("agentd", "agentd_cli")
        for file in (base / package).rglob("*.py")
    }
    assert modules == {name for name in names if name.endswith(".py")}


def test_both_commands_run_where_only_the_wheel_is_installed(wheel, tmp_path):
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--no-deps", "--no-index", "--target", target, wheel],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert not (target / "cli").exists()
    env = {k: v for k, v in os.environ.items() if not k.startswith("AGENTD_")}
    env["PYTHONPATH"] = str(target)
    for command in ("agentd", "agentctl"):
        done = subprocess.run(
            [target / "bin" / command, "--help"],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
    where = "import agentd, agentd_cli; print(agentd.__file__, agentd_cli.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", where],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(path.startswith(str(target)) for path in done.stdout.split())
