"""``agentd serve`` as a person or a supervisor runs it."""

import json
import re
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from tests.acceptance.harness import (
    AGENTS,
    LONG_S,
    environment,
    has_escapes,
    listens,
    run,
    wait_until,
)


def last_line(text):
    return text.splitlines()[-1]


class TestStartAndEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_what_a_person_sees(self, serve, number):
        daemon = serve("--workers", "1")
        wait_until(lambda: "worker ready" in daemon.log, "the worker")
        first, second = daemon.log.splitlines()
        assert re.fullmatch(
            rf"\d\d:\d\d:\d\d info    listening on {daemon.endpoint} pid=\d+ node=[0-9a-f]+", first
        )
        assert re.fullmatch(r"\d\d:\d\d:\d\d info    worker ready worker=w1 pid=\d+", second)
        done = daemon.end(number)
        assert (done.code, done.out) == (0, "")
        assert [line.split(maxsplit=2)[2].split(" worker=")[0] for line in done.err.splitlines()][
            2:
        ] == ["draining", "worker stopped", "stopped"]

    def test_its_folder_is_private(self, serve):
        daemon = serve("--workers", "1")
        socket = Path(daemon.endpoint.removeprefix("ipc://"))
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.stat().st_mode) & 0o077 == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_open_calls_are_finished_and_new_ones_refused(self, serve, agentctl, tmp_path, number):
        morning = tmp_path / "morning"
        daemon = serve("--workers", "1", "--path", AGENTS)
        assert agentctl("create", "shop:Stock", "--name", "s").code == 0
        answers = []
        sleep = ("call", "s", "sleep_until", f'"{morning}"')
        call = threading.Thread(target=lambda: answers.append(agentctl(*sleep)))
        call.start()
        wait_until(lambda: "good night" in agentctl("logs", "s").out, "the call to run")
        daemon.process.send_signal(number)
        wait_until(lambda: "draining" in daemon.log, "draining")
        refused = agentctl("create", "shop:Stock")
        assert (refused.code, refused.err) == (
            1,
            "Draining: the daemon is stopping and takes no new agents\n",
        )
        morning.touch()
        call.join()
        assert answers == [(0, '"rested"\n', "")]
        assert daemon.process.wait(LONG_S) == 0

    def test_the_second_signal_ends_at_once(self, serve, agentctl, run_dir):
        daemon = serve("--workers", "1", "--path", AGENTS)
        agentctl("create", "shop:Stock", "--name", "s")
        assert agentctl("call", "s", "nap", "3600", "--timeout", "0.5").code == 7
        assert "good night" in agentctl("logs", "s").out
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in daemon.log, "draining")
        began = time.monotonic()
        assert daemon.end().code == 0
        assert time.monotonic() - began < 15

    def test_a_second_daemon_leaves_the_first_unharmed(self, serve, agentd, agentctl):
        serve("--workers", "1", "--path", AGENTS)
        agentctl("create", "shop:Stock", "7", "--name", "s")
        second = agentd("serve", "--workers", "1")
        assert (second.code, second.out) == (75, "")
        sentence = last_line(second.err)
        assert sentence.startswith("EndpointInUse: another agentd daemon already listens on ipc://")
        assert "agentctl stop" in sentence
        assert agentctl("call", "s", "add", "1").out == "8\n"

    def test_a_socket_file_left_by_a_crash_is_no_obstacle(self, serve, agentctl):
        first = serve("--workers", "1")
        first.process.kill()
        first.process.wait()
        assert serve("--workers", "1").end().code == 0

    def test_a_signal_on_the_way_out_does_not_spoil_the_exit_code(self, serve):
        daemon = serve("--workers", "1")
        daemon.process.send_signal(signal.SIGTERM)
        while daemon.process.poll() is None:
            if "info    stopped" in daemon.log:
                daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.returncode == 0

    def test_stop_ends_it(self, serve, agentctl):
        daemon = serve("--workers", "1")
        done = agentctl("stop")
        assert (done.code, done.out) == (
            0,
            f"{daemon.endpoint} is stopping: it finishes open calls and takes nothing new\n",
        )
        assert daemon.process.wait(30) == 0
        assert agentctl("stop").code == 3


class TestSettings:
    def test_flag_over_environment_over_file_over_default(self, serve, agentctl, tmp_path):
        file = tmp_path / "agentd.toml"
        file.write_text('workers = 3\nlog_level = "error"\nlog_format = "json"\n')
        daemon = serve("--config", file, "--workers", "1", AGENTD_LOG_LEVEL="info")
        wait_until(lambda: "worker ready" in daemon.log, "the worker")
        status = agentctl("status", "--json").json
        assert len(status["workers"]) == 1  # the flag
        assert '"level": "info"' in daemon.log  # the environment
        assert all(json.loads(line)["time"] for line in daemon.log.splitlines())  # the file

    def test_relative_folders_of_a_file_count_from_there(self, serve, agentctl, tmp_path):
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf" / "agentd.toml").write_text('workers = 1\npath = ["../mine"]\n')
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "small.py").write_text("class Thing:\n    size = 3\n")
        serve("--config", tmp_path / "conf" / "agentd.toml")
        assert agentctl("create", "small:Thing", "--name", "t").code == 0
        assert agentctl("get", "t", "size").out == "3\n"

    def test_two_endpoints(self, serve, agentctl, run_dir):
        one, two = (f"ipc://{run_dir}/{name}.sock" for name in ("one", "two"))
        daemon = serve(
            "--bind", one, "--bind", two, "--workers", "1", "--path", AGENTS, endpoint=one
        )
        assert agentctl("create", "shop:Stock", "--name", "s", "--endpoint", one).code == 0
        assert agentctl("call", "s", "add", "2", "--endpoint", two).out == "2\n"
        assert agentctl("agents", AGENTD_ENDPOINT=two).out.count("\n") == 2
        assert agentctl("agents").code == 3  # nobody is at the default
        assert daemon.end().code == 0
        assert not listens(one)
        assert not listens(two)

    def test_workers(self, serve, agentctl):
        serve("--workers", "3")
        workers = agentctl("status", "--json").json["workers"]
        assert len({worker["pid"] for worker in workers}) == 3

    def test_a_folder_that_is_not_there_is_told(self, serve, tmp_path):
        daemon = serve("--path", tmp_path / "nowhere", "--workers", "1")
        assert f"warning no such folder to import from path={tmp_path}/nowhere" in daemon.log

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("wrokers = 3", "unknown setting wrokers; did you mean workers?"),
            ('workers = "3"', "workers = '3': expected a whole number from 0 to 1,024"),
            ("workers = ", "not a TOML file"),
        ],
    )
    def test_a_wrong_file(self, agentd, tmp_path, text, sentence):
        file = tmp_path / "agentd.toml"
        file.write_text(text)
        done = agentd("serve", "--config", str(file))
        assert (done.code, done.out) == (78, "")
        assert done.err.startswith(f"ConfigError: {file}: {sentence}")
        assert done.err.count("\n") == 1

    def test_a_wrong_variable(self, agentd):
        done = agentd("serve", AGENTD_WROKERS="3")
        assert done == (
            78,
            "",
            "ConfigError: environment: unknown setting AGENTD_WROKERS; "
            "did you mean AGENTD_WORKERS?\n",
        )

    def test_a_wrong_flag(self, agentd):
        done = agentd("serve", "--wrokers", "3")
        assert done.code == 2
        assert re.search(r"Did you mean .*'--workers'", done.err)

    def test_tcp_without_keys_is_refused_with_the_command_that_makes_one(self, agentd):
        for done in (
            agentd("serve", "--bind", "tcp://127.0.0.1:5577"),
            agentd("serve", AGENTD_BIND="tcp://127.0.0.1:5577"),
        ):
            assert done.code == 78
            assert "agentctl keygen server" in done.err
            assert done.err.count("\n") == 1

    @pytest.mark.parametrize(
        ("bind", "code", "sentence"),
        [
            ("ipc:///nowhere/at/all/x.sock", 78, "the folder /nowhere/at/all does not exist"),
            ("ipc:///proc/x.sock", 1, "cannot use /proc/x.sock"),
            (f"ipc:///{'x' * 200}", 78, "the system allows 107"),
            ("ipc://relative.sock", 78, "an absolute path"),
            ("agentd.sock", 78, "an absolute path"),
        ],
    )
    def test_an_endpoint_that_cannot_be(self, agentd, bind, code, sentence):
        done = agentd("serve", "--workers", "1", "--bind", bind)
        assert (done.code, done.out) == (code, "")
        assert sentence in last_line(done.err)
        assert "Traceback" not in done.err

    def test_a_run_folder_that_others_can_enter(self, agentd, run_dir):
        Path(run_dir, "agentd").mkdir(mode=0o755)
        done = agentd("serve", "--workers", "1")
        assert done.code == 78
        assert f"close it with: chmod 700 {run_dir}/agentd" in last_line(done.err)


class TestLogs:
    CANARY = "canary-4711"

    def quarrel(self, agentctl):
        """All that could bring an argument, a result or an attribute into a log."""
        canary = self.CANARY
        agentctl("create", "shop:Stock", canary, "--kw", f"secret={canary}", "--name", "s")
        assert canary in agentctl("get", "s", "given").out
        assert canary in agentctl("call", "s", "echo", canary, "--kw", f"k={canary}").out
        assert canary in agentctl("call", "s", "fail", canary).err
        agentctl("call", "s", "say", canary)
        assert canary in agentctl("logs", "s").out
        agentctl("create", "shop:Broken", canary)
        agentctl("create", "nowhere:Nothing", canary)
        agentctl("call", "s", canary)
        agentctl("call", "s", "die", "3", canary)
        agentctl("call", "s", "die", "3")
        agentctl("delete", "s")

    def test_json_lines_carry_an_action_and_no_payload(self, serve, agentctl):
        daemon = serve(
            *("--workers", "1", "--path", AGENTS, "--log-format", "json", "--log-level", "debug")
        )
        self.quarrel(agentctl)
        entries = [json.loads(line) for line in daemon.end().err.splitlines()]
        assert self.CANARY not in json.dumps(entries)
        actions = [entry["action"] for entry in entries if entry["level"] != "debug"]
        assert all(actions)
        for action in (
            *("listening", "worker_ready", "agent_ready", "agent_failed", "worker_lost"),
            *("agent_restarts", "agent_ended", "draining", "stopped"),
        ):
            assert action in actions
        assert all({"time", "level", "action", "message"} <= set(entry) for entry in entries)
        [ready] = [e for e in entries if e["action"] == "agent_ready" and e["epoch"] == 1]
        assert (ready["agent_name"], ready["cls"]) == ("s", "shop:Stock")

    def test_text_for_people_has_no_payload_either(self, serve, agentctl):
        daemon = serve("--workers", "1", "--path", AGENTS, "--log-level", "debug")
        self.quarrel(agentctl)
        text = daemon.end().err
        assert self.CANARY not in text
        assert "agent ready" in text
        assert "Traceback" not in text
        assert not has_escapes(text)


class TestImporting:
    def test_a_class_of_a_folder(self, serve, agentctl):
        serve("--workers", "1", "--path", AGENTS)
        kws = ("--kw", "step=[2]", "--kw", "note=hello", "--kw", 'digits="5"')
        done = agentctl(
            "create", "shop:Stock", "5", "text", '{"a": null}', "-1", *kws, "--name", "s"
        )
        assert done.code == 0
        assert agentctl("get", "s", "given", "--json").json == [
            *(5, "text", {"a": None}, -1),
            {"step": [2], "note": "hello", "digits": "5"},
        ]

    def test_the_way_to_make_a_class_importable_is_told(self, serve, agentctl):
        serve("--workers", "1")
        done = agentctl("create", "shop:Stock")
        assert (done.code, done.out) == (5, "")
        assert "module shop is not importable in the daemon" in done.err
        assert "agentd serve --path DIR" in done.err

    def test_a_name_that_the_module_has_not(self, serve, agentctl):
        serve("--workers", "1", "--path", AGENTS)
        done = agentctl("create", "shop:Stcok")
        assert (done.code, "module shop has no class Stcok" in done.err) == (5, True)


def test_version(run_dir):
    import agentd

    for command in ("agentd", "agentctl"):
        done = run(command, "--version", env=environment(run_dir))
        assert done == (0, f"{command} {agentd.__version__}\n", "")


def test_help_alone(agentd):
    assert "Usage: agentd" in (done := agentd()).out + done.err
    text = agentd("serve", "--help").out
    assert "AGENTD_SHUTDOWN_GRACE_S" in text
    assert "[[]]" not in text
