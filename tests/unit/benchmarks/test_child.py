import json
from pathlib import Path

from benchmarks.child import Outcome, _read, command, home, private_environment


def test_the_last_line_is_the_outcome():
    told = json.dumps({"values": {"x": 1.0}, "agentd": "/somewhere"})
    assert _read(f"noise\n{told}\n", "", 0) == Outcome({"x": 1.0}, agentd="/somewhere")


def test_a_process_that_says_nothing_is_an_error_with_its_last_words():
    assert _read("", "Traceback\nKeyError: 'x'\n", 1).error == "ended with code 1: KeyError: 'x'"
    assert _read("not json", "", -9).error == "ended with code -9: no message"
    assert "ended with code 0" in _read('{"surprise": 1}', "", 0).error


def test_the_home_has_this_package_and_nothing_else():
    with home() as folder:
        [found] = Path(folder).iterdir()
        assert found.name == "benchmarks"
        assert (found / "inside.py").exists()


def test_a_command_takes_its_job_as_json():
    assert command("measure", {"row": "call"}, "py", "/home")[-3:] == [
        "/home",
        "measure",
        '{"row": "call"}',
    ]


def test_no_setting_of_this_user_reaches_a_measurement(monkeypatch):
    monkeypatch.setenv("AGENTD_ENDPOINT", "ipc:///elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    with private_environment() as env:
        assert not [name for name in env if name.startswith(("AGENTD_", "PYTHONPATH"))]
        assert env["XDG_RUNTIME_DIR"].startswith("/tmp/ab-")
