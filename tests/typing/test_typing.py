"""What checkers say about the public API is what we promise (docs/typing.md).

``api.py`` is right and has to pass; in ``errors.py`` exactly the marked lines are reported. The
examples are checked as well: they are what people copy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
API, ERRORS = HERE / "api.py", HERE / "errors.py"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MARK = re.compile(r"# error:(?P<checkers>[ \w]+)$")
TIMEOUT_S = 300

Reports = dict[tuple[str, int], list[str]]


def marked(checker: str) -> set[int]:
    """The lines of ``errors.py`` that ``checker`` has to report."""
    lines = enumerate(ERRORS.read_text().splitlines(), start=1)
    return {
        number
        for number, line in lines
        if (mark := MARK.search(line)) and checker in mark["checkers"].split()
    }


def run(*command: str) -> str:
    done = subprocess.run(
        command,
        check=False,  # looked at below
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=HERE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT), "NO_COLOR": "1"},
    )
    assert done.returncode in (0, 1), f"{command[0]} broke:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    folder = tmp_path_factory.mktemp("mypy")
    config = folder / "mypy.ini"
    config.write_text(
        f"[mypy]\nstrict = true\nplugins = agentd.mypy_plugin\ncache_dir = {folder / 'cache'}\n"
        # What agentd itself looks like inside is checked elsewhere, with its own settings.
        "[mypy-agentd.*]\nignore_errors = true\n"
        "[mypy-dill.*,msgpack.*]\nignore_missing_imports = true\n"
    )
    files = [str(path) for path in (API, ERRORS, *EXAMPLES)]
    reports: Reports = {}
    for line in run(
        sys.executable, "-m", "mypy", "--config-file", str(config), "-O", "json", *files
    ).splitlines():
        report = json.loads(line)
        if report["severity"] == "error":
            place = (Path(report["file"]).name, report["line"])
            reports.setdefault(place, []).append(report["message"])
    return reports


@pytest.fixture(scope="module")
def pyright() -> Reports:
    program = shutil.which("pyright")
    if program is None:
        pytest.skip("pyright is not installed")
    output = run(
        program, "--pythonpath", sys.executable, "--outputjson", *map(str, (API, ERRORS, *EXAMPLES))
    )
    reports: Reports = {}
    for report in json.loads(output)["generalDiagnostics"]:
        if report["severity"] == "error":
            place = (Path(report["file"]).name, report["range"]["start"]["line"] + 1)
            reports.setdefault(place, []).append(report["message"])
    return reports


def of(reports: Reports, name: str) -> dict[int, list[str]]:
    return {line: messages for (file, line), messages in reports.items() if file == name}


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
class TestPublicApi:
    def test_right_code_passes(self, checker: str, request: pytest.FixtureRequest):
        assert of(request.getfixturevalue(checker), API.name) == {}

    def test_exactly_the_marked_mistakes_are_found(
        self, checker: str, request: pytest.FixtureRequest
    ):
        found = of(request.getfixturevalue(checker), ERRORS.name)
        expected = marked(checker)
        assert expected, "no line is marked"
        missed = sorted(expected - found.keys())
        wrong = {line: found[line] for line in sorted(found.keys() - expected)}
        assert (missed, wrong) == ([], {})

    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
    def test_example_passes(self, checker: str, example: Path, request: pytest.FixtureRequest):
        assert of(request.getfixturevalue(checker), example.name) == {}


def test_an_option_mypy_refuses_is_named(mypy: Reports):
    said = [message for messages in of(mypy, ERRORS.name).values() for message in messages]
    assert '"nme" is not an option of "to_dist"' in said
    assert any('expected "bool | str | Mapping[str, Any] | DistConf | None"' in m for m in said)
