"""``agentctl``, verb by verb, against a daemon."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agentd_cli import exits
from tests.acceptance.harness import (
    AGENTS,
    BIN,
    LONG_S,
    environment,
    has_escapes,
    processes_of,
    wait_until,
)

ID = re.compile(r"[0-9a-f]{32}\n")


class TestNoDaemon:
    @pytest.mark.parametrize(
        "verb",
        [
            ("status",),
            ("agents",),
            ("create", "shop:Stock"),
            ("call", "a", "b"),
            ("get", "a", "b"),
            ("inspect", "a"),
            ("logs", "a"),
            ("delete", "a"),
            ("ping",),
            ("stop",),
        ],
        ids=lambda verb: verb[0],
    )
    def test_it_says_what_to_type_next_and_starts_none(self, agentctl, run_dir, verb):
        done = agentctl(*verb)
        assert (done.code, done.out) == (3, "")
        assert done.err == (
            f"DaemonNotFound: no daemon listens on ipc://{run_dir}/agentd/agentd.sock; "
            "start one with: agentd serve\n"
        )
        assert processes_of(run_dir) == {}
        assert list(Path(run_dir).iterdir()) == []

    @pytest.mark.parametrize("how", ["option", "variable"])
    def test_at_an_endpoint_that_was_named(self, agentctl, run_dir, how):
        endpoint = f"ipc://{run_dir}/my own.sock"
        if how == "option":
            done = agentctl("agents", "--endpoint", endpoint)
        else:
            done = agentctl("agents", AGENTD_ENDPOINT=endpoint)
        assert (done.code, done.out) == (3, "")
        assert done.err.endswith(f"; start one with: agentd serve --bind '{endpoint}'\n")

    def test_tcp_needs_a_key_of_the_client(self, agentctl):
        done = agentctl("agents", "--endpoint", "tcp://127.0.0.1:5577")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "agentctl keygen client" in done.err


class TestLooking:
    def test_status(self, ctl, daemon):
        def ready():  # the daemon listens before its first workers are up
            return {w["state"] for w in ctl("status", "--json").json["workers"]} == {"ready"}

        wait_until(ready, "the workers")
        text = ctl("status").out
        assert f"endpoint  {daemon.endpoint}\n" in text
        assert f"pid       {daemon.process.pid}\n" in text
        assert re.search(r"^WORKER +PID +STATE +AGENTS +RESTARTS$", text, re.MULTILINE)
        assert re.search(r"^w1 +\d+ +ready +\d+ +\d+$", text, re.MULTILINE)
        info = ctl("status", "--json").json
        assert (info["endpoint"], info["pid"]) == (daemon.endpoint, daemon.process.pid)
        assert all(worker["pid"] for worker in info["workers"])

    def test_no_agents_yet(self, serve, agentctl):
        serve("--workers", "1")
        assert agentctl("agents") == (
            0,
            "",
            "No agents yet; create one with: agentctl create PKG.MOD:CLASS\n",
        )
        assert agentctl("agents", "--json") == (0, "[]\n", "")

    def test_agents(self, ctl, stock):
        head, *rows = ctl("agents").out.splitlines()
        columns = "ID NAME CLASS STATE LIFETIME WORKER PID RESTARTS AGE".split()
        assert head.split() == columns
        [row] = [row for row in rows if stock in row]
        [agent] = [a for a in ctl("agents", "--json").json if a["name"] == stock]
        assert re.fullmatch(
            rf"{agent['id']}  {stock} +shop:Stock +ready +daemon +w\d+ +\d+ +0 +\d+s", row
        )
        assert agent["pid"] == int(ctl("call", stock, "pid").out)

    def test_inspect(self, ctl, stock):
        text = ctl("inspect", stock).out
        assert re.search(rf"^name +{stock}$", text, re.MULTILINE)
        assert re.search(r"^cls +shop:Stock$", text, re.MULTILINE)
        facts = ctl("inspect", stock, "--json").json
        assert {"add", "echo", "fail"} <= set(facts["methods"])
        assert facts["lifetime"] == "daemon"

    def test_by_id_and_the_start_of_an_id(self, ctl, stock):
        identity = ctl("inspect", stock, "--json").json["id"]
        for ref in (identity, identity[:8], identity[:4]):
            assert ctl("get", ref, "count").out == "5\n"

    def test_ping(self, ctl, daemon):
        assert re.fullmatch(rf"{daemon.endpoint} answered in \d+\.\d ms\n", ctl("ping").out)
        assert ctl("ping", "--json").json["seconds"] < LONG_S

    def test_get(self, ctl, stock):
        assert ctl("get", stock, "count") == (0, "5\n", "")
        assert ctl("get", stock, "given", "--json").json == [5, {"step": 1}]


class TestCreate:
    def test_it_prints_the_id(self, ctl):
        done = ctl("create", "shop:Stock")
        assert (done.code, done.err) == (0, "")
        assert ID.fullmatch(done.out)
        assert ctl("delete", done.out.strip()).out == done.out

    def test_for_a_program(self, ctl):
        made = ctl("create", "shop:Stock", "--json", "--name", "made").json
        assert made == {"id": made["id"], "name": "made", "cls": "shop:Stock"}
        assert ctl("delete", "made", "--json").json == [made["id"]]

    def test_it_outlives_the_program_that_made_it(self, ctl, stock):
        assert ctl("inspect", stock, "--json").json["lifetime"] == "daemon"

    def test_a_name_that_is_taken(self, ctl, stock):
        done = ctl("create", "shop:Stock", "--name", stock)
        assert (done.code, done.out) == (4, "")
        assert done.err == (
            f"NameTaken: an agent named '{stock}' (shop:Stock) exists already; choose another "
            "name, or use that one with --get-if-exists\n"
        )

    def test_or_the_one_that_has_it(self, ctl, stock):
        identity = ctl("inspect", stock, "--json").json["id"]
        done = ctl("create", "shop:Stock", "9", "--name", stock, "--get-if-exists")
        assert (done.code, done.out) == (0, identity + "\n")
        assert ctl("get", stock, "count").out == "5\n"
        other = ctl("create", "shop:Slow", "0", "--name", stock, "--get-if-exists")
        assert (other.code, "is a shop:Stock, not a shop:Slow" in other.err) == (4, True)

    def test_dedicated(self, ctl):
        ctl("create", "shop:Stock", "--name", "alone", "--dedicated")
        [worker] = [w for w in ctl("status", "--json").json["workers"] if w["dedicated"]]
        assert worker["pid"] == int(ctl("call", "alone", "pid").out)
        assert ctl("delete", "alone").code == 0

    def test_not_ready_in_time(self, ctl):
        done = ctl(
            "create", "shop:Slow", "3600", "--name", "slow", "--dedicated", "--timeout", "0.2"
        )
        assert (done.code, done.out) == (7, "")
        assert re.fullmatch(
            r"CallTimeout: agent slow \(shop:Slow\) is not ready after 0.2 s; "
            r"it goes on, see: agentctl inspect [0-9a-f]{8}\n",
            done.err,
        )
        assert ctl("inspect", "slow", "--json").json["state"] == "starting"
        assert ctl("delete", "slow").code == 0

    def test_an_init_that_fails(self, ctl):
        done = ctl("create", "shop:Broken", "--name", "broken")
        assert (done.code, done.out) == (5, "")
        assert done.err == (
            "AgentCreationError: shop:Broken could not be created: RuntimeError: "
            "no \\x1b[31mstock at all; its output: agentctl logs broken\n"
        )
        output = ctl("logs", "broken").out
        assert "stdout trying" in output
        assert "stderr RuntimeError: no \\x1b[31mstock" in output
        with_traceback = ctl("create", "shop:Broken", "--traceback").err
        assert "in __init__" in with_traceback
        assert "agentd_cli" not in with_traceback

    @pytest.mark.parametrize(
        "name", ["with two words", "-x", "ünïcödé 日本", "a/b:c", "'quoted'", "$(id)", "x" * 200]
    )
    def test_odd_names(self, ctl, name):
        assert ctl("create", "shop:Stock", "3", f"--name={name}").code == 0
        assert name in ctl("agents").out
        assert ctl("call", "--", name, "add", "1").out == "4\n"
        assert ctl("inspect", "--json", "--", name).json["name"] == name
        assert ctl("delete", "--", name).code == 0

    @pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 201, b"\xff", "\u202ex"])
    def test_names_that_cannot_be(self, ctl, name):
        done = ctl("create", "shop:Stock", "--name", name)
        assert (done.code, done.out) == (2, "")
        assert "name" in done.err.splitlines()[-1]
        assert "Traceback" not in done.err
        assert not has_escapes(done.err)


class TestCall:
    def test_arguments_are_json_where_they_parse_as_json_else_text(self, ctl, stock):
        typed = ["5", "-1", "2.5", "true", "null", "hello", '"5"', "[1]", '{"a": 1}', "007", ""]
        done = ctl("call", stock, "echo", *typed, "--kw", "k={}", "--kw", "t=a=b", "--json")
        assert done.json == [
            [5, -1, 2.5, True, None, "hello", "5", [1], {"a": 1}, "007", ""],
            {"k": {}, "t": "a=b"},
        ]

    def test_state_stays(self, ctl, stock):
        assert [ctl("call", stock, "add", "1").out for _ in range(3)] == ["6\n", "7\n", "8\n"]
        assert ctl("call", stock, "add", "-10").out == "-2\n"

    def test_a_result_that_is_no_plain_data(self, ctl, stock):
        assert ctl("call", stock, "seven").out == "{7}\n"
        assert ctl("call", stock, "seven", "--json").json == {"repr": "{7}"}

    def test_an_agent_as_a_result(self, ctl, stock):
        assert re.fullmatch(rf"<agent shop:Stock '{stock}' .*>\n", ctl("call", stock, "me").out)

    def test_a_method_that_is_marked_async(self, ctl, stock):
        assert ctl("call", stock, "later").out == '"came later"\n'

    def test_what_the_agent_raised(self, ctl, stock):
        assert ctl("call", stock, "fail", "no \x1b[31m\nsuch") == (
            1,
            "",
            "ValueError: no \\x1b[31m such\n",
        )

    def test_and_where_only_when_asked(self, ctl, stock):
        error = ctl("call", stock, "fail", "x", "--traceback").err
        assert error.startswith("ValueError: x\n")
        assert "shop.py" in error
        assert "in fail" in error
        assert "agentd_cli" not in error

    def test_a_method_that_is_not_there(self, ctl, stock):
        for name in ("nothing", "_private", "__class_getitem__"):
            done = ctl("call", stock, name)
            assert (done.code, done.err.startswith("AttributeError: ")) == (1, True)

    def test_an_attribute_is_no_method(self, ctl, stock):
        done = ctl("call", stock, "count")
        assert done.code == 2
        assert f"count is no method; read it with: agentctl get {stock} count\n" in done.err

    def test_not_done_in_time(self, ctl):
        ctl("create", "shop:Stock", "--name", "napper", "--dedicated")
        done = ctl("call", "napper", "nap", "3", "--timeout", "0.2")
        assert done == (
            7,
            "",
            "CallTimeout: napper.nap is not done after 0.2 s; the agent goes on with it\n",
        )
        assert ctl("delete", "napper").code == 0

    def test_a_crash(self, ctl):
        ctl("create", "shop:Stock", "--name", "mortal", "--dedicated")
        assert ctl("call", "mortal", "die", "3") == (
            6,
            "",
            "AgentCrashed: the worker that hosted agent mortal (shop:Stock) died (exit code 3) "
            "during the call; its last words: last words\n",
        )
        done = ctl("call", "mortal", "die_loudly")
        assert (done.code, done.out) == (6, "")
        assert done.err.endswith("during the call; its last words: agentctl inspect mortal\n")
        assert done.err.count("\n") == 1
        assert "ZeroDivisionError" in ctl("inspect", "mortal").out
        assert ctl("inspect", "mortal", "--json").json["restarts"] == 2
        assert ctl("delete", "mortal").code == 0


class TestStream:
    """``agentctl call --stream``."""

    def test_each_item_is_printed_when_it_comes(self, begin, stock, tmp_path):
        gate = tmp_path / "gate"
        call = begin("call", stock, "tell", "1", "b", "3", "--kw", f"wait_for={gate}", "--stream")
        # The third does not come before there is a file: nothing here waits for the end.
        assert [call.stdout.readline() for _ in range(2)] == ["1\n", '"b"\n']
        gate.touch()
        assert call.communicate(timeout=LONG_S) == ("3\n", "")
        assert call.returncode == 0

    def test_raw_text_is_printed_token_by_token(self, begin, stock, tmp_path):
        gate = tmp_path / "gate"
        kw = f"wait_for={gate}"
        call = begin("call", stock, "tell", "to", " be", " or", "--kw", kw, "--stream", "--raw")
        assert os.read(call.stdout.fileno(), 2) == b"to"
        assert os.read(call.stdout.fileno(), 3) == b" be"
        gate.touch()
        assert call.communicate(timeout=LONG_S) == (" or\n", "")
        assert call.returncode == 0

    def test_json_is_one_value_a_line(self, ctl, stock):
        items = ("1", "null", '{"a": [1, "\\n\\u001b"]}', "text")
        done = ctl("call", stock, "tell", *items, "--stream", "--json")
        assert (done.code, done.err) == (0, "")
        lines = [json.loads(line) for line in done.out.splitlines()]
        assert lines == [1, None, {"a": [1, "\n\x1b"]}, "text"]
        sets = ("call", stock, "tell", "1", "2", "--kw", "then=as sets", "--stream")
        assert ctl(*sets).out == "{1}\n{2}\n"
        assert ctl(*sets, "--json").out == '{"repr": "{1}"}\n{"repr": "{2}"}\n'

    def test_none_is_lost_or_repeated(self, ctl, stock):
        items = [str(number) for number in range(2_000)]
        assert ctl("call", stock, "tell", *items, "--stream").out.split() == items

    @pytest.mark.parametrize(("option", "printed"), [((), '"a"\n"b"\n'), (("--raw",), "ab\n")])
    def test_what_the_agent_raised_comes_after_the_items(self, ctl, stock, option, printed):
        done = ctl("call", stock, "tell", "a", "b", "--kw", "then=fail", "--stream", *option)
        assert done == (1, printed, "ValueError: no \\x1b[31m more\n")

    def test_a_crash(self, begin, ctl, tmp_path):
        ctl("create", "shop:Stock", "--name", "brittle", "--dedicated")
        gate = tmp_path / "gate"
        kws = ("--kw", f"wait_for={gate}", "--kw", "then=die")
        call = begin("call", "brittle", "tell", "1", "2", *kws, "--stream")
        assert call.stdout.readline() == "1\n"
        gate.touch()
        out, err = call.communicate(timeout=LONG_S)
        assert call.returncode == 6
        assert out in ("", "2\n"), "what had not left the process died with it"
        assert err.startswith("AgentCrashed: the worker that hosted agent brittle")
        assert ctl("delete", "brittle").code == 0

    def test_ctrl_c_closes_the_generator(self, begin, stock, ctl):
        call = begin("call", stock, "tell", "a", "b", "--kw", "wait_for=/nonexistent", "--stream")
        assert call.stdout.readline() == '"a"\n'
        call.send_signal(signal.SIGINT)
        assert call.communicate(timeout=LONG_S) == ("", "")
        assert call.returncode == 130
        wait_until(lambda: "the stream is closed" in ctl("logs", stock).out, "its finally to run")
        assert ctl("call", stock, "add", "1").out == "6\n", "the agent is free again"

    def test_a_reader_that_has_enough_closes_the_generator(self, begin, stock, ctl):
        call = begin("call", stock, "tell", *["more"] * 10_000, "--stream")
        assert call.stdout.readline() == '"more"\n'
        call.stdout.close()  # as ``head -1`` does
        assert call.wait(LONG_S) == 1
        assert call.stderr.read() == ""
        wait_until(lambda: "the stream is closed" in ctl("logs", stock).out, "its finally to run")

    def test_not_done_in_time(self, ctl, stock):
        gate = ("--kw", "wait_for=/nonexistent")
        done = ctl("call", stock, "tell", "a", "b", *gate, "--stream", "--timeout", "0.5")
        assert done == (
            7,
            '"a"\n',
            f"CallTimeout: {stock}.tell is not done after 0.5 s; the stream is closed\n",
        )
        wait_until(lambda: "the stream is closed" in ctl("logs", stock).out, "its finally to run")

    def test_methods_that_are_no_generators(self, ctl, stock):
        assert ctl("call", stock, "listed", "--stream").out == '"one"\n"two"\n'
        done = ctl("call", stock, "add", "1", "--stream")
        assert (done.code, done.out) == (1, "")
        assert done.err == "TypeError: 'int' object is not iterable\n"
        missing = ctl("call", stock, "nothing", "--stream")
        assert (missing.code, missing.err.startswith("AttributeError: ")) == (1, True)

    def test_a_generator_without_the_option(self, ctl, stock):
        done = ctl("call", stock, "tell", "a")
        assert (done.code, done.out) == (2, "")
        assert done.err.endswith("tell gives its items one by one; read them with --stream\n")

    def test_text_without_quotes(self, ctl, stock):
        assert ctl("call", stock, "later", "--raw") == (0, "came later\n", "")


class TestLogs:
    def test_both_streams(self, ctl, stock):
        ctl("call", stock, "say", "tab\there \x1b]0;title\x07")
        lines = ctl("logs", stock).out.splitlines()
        assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == [
            "stdout in stock: 5",
            "stdout tab\there \\x1b]0;title\\x07",
            "stderr err: tab\there \\x1b]0;title\\x07",
        ]

    def test_for_a_program(self, ctl, stock):
        [line] = ctl("logs", stock, "--json").out.splitlines()
        entry = json.loads(line)
        assert (entry["stream"], entry["text"]) == ("stdout", "in stock: 5")

    def test_nothing_yet(self, ctl):
        ctl("create", "shop:Slow", "0", "--name", "silent")
        done = ctl("logs", "silent")
        assert (done.code, done.out) == (0, "")
        assert "agentctl logs -f" in done.err
        assert ctl("delete", "silent").code == 0

    def test_follow_goes_on_until_the_agent_ends(self, ctl, begin):
        ctl("create", "shop:Stock", "--name", "talker")
        follower = begin("logs", "-f", "talker")
        assert "in stock: 0" in follower.stdout.readline()
        for word in ("one", "two"):
            ctl("call", "talker", "say", word)
            said = {follower.stdout.readline() for _ in range(2)}
            assert {line[9:] for line in said} == {f"stdout {word}\n", f"stderr err: {word}\n"}
        ctl("call", "talker", "say", "last")
        ctl("delete", "talker")
        out, err = follower.communicate(timeout=LONG_S)
        assert (follower.returncode, err) == (0, "")
        assert out.count("last") == 2

    def test_follow_ends_with_the_daemon(self, serve, agentctl, run_dir):
        daemon = serve("--workers", "1", "--path", AGENTS)
        agentctl("create", "shop:Stock", "--name", "talker")
        ended = []
        follower = threading.Thread(target=lambda: ended.append(agentctl("logs", "-f", "talker")))
        follower.start()
        agentctl("call", "talker", "nap", "0.5")
        daemon.end()
        follower.join(LONG_S)
        [done] = ended
        assert done.code in (0, 6)  # the agent's end was told, or the connection was lost first
        assert "Traceback" not in done.err

    def test_ctrl_c(self, begin, stock):
        follower = begin("logs", "-f", stock)
        assert "in stock" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        assert follower.communicate(timeout=LONG_S) == ("", "")
        assert follower.returncode == 130

    def test_into_a_pipe_that_closes(self, ctl, begin, stock):
        follower = begin("logs", "-f", stock)
        follower.stdout.readline()
        follower.stdout.close()
        ctl("call", stock, "say", "into the void")
        assert follower.wait(LONG_S) == 1
        assert follower.stderr.read() == ""


class TestDelete:
    def test_several(self, ctl):
        ids = [ctl("create", "shop:Stock", "--name", name).out.strip() for name in "abc"]
        done = ctl("delete", "a", ids[1], ids[2][:8])
        assert (done.code, done.out.split(), done.err) == (0, ids, "")
        gone = ctl("call", "a", "add")
        assert gone.code == 4
        assert re.fullmatch(
            r"AgentNotFound: agent a \(shop:Stock\) ended at [\d: -]+: it was deleted\n", gone.err
        )

    def test_one_that_is_not_there_does_not_keep_the_others(self, ctl):
        identity = ctl("create", "shop:Stock", "--name", "here").out
        done = ctl("delete", "nobody", "here")
        assert (done.code, done.out) == (4, identity)
        assert done.err == (
            "AgentNotFound: there is no agent 'nobody' here; `agentctl agents` lists them\n"
        )


class TestPeople:
    """What holds for every verb."""

    def test_ctrl_c_in_a_call(self, begin, stock, ctl):
        call = begin("call", stock, "nap", "3600")
        wait_until(lambda: "good night" in ctl("logs", stock).out, "the call to run")
        call.send_signal(signal.SIGINT)
        assert call.communicate(timeout=LONG_S) == ("", "")
        assert call.returncode == 130
        assert ctl("call", stock, "add", "1").out == "6\n", "the agent gave it up, too"

    @pytest.mark.parametrize("verb", ["inspect", "logs", "delete"])
    @pytest.mark.parametrize("name", ["nobody", "\x1b[31mred", "", b"\xff\xfe"])
    def test_an_agent_that_is_not_there(self, ctl, verb, name):
        done = ctl(verb, name)
        assert done.code == (4 if isinstance(name, str) and name else 2)
        assert done.out == ""
        assert "Traceback" not in done.err
        assert not has_escapes(done.err)

    def test_wrong_usage(self, ctl, stock):
        for args in (("nope",), ("call", stock), ("agents", "extra")):
            done = ctl(*args)
            assert (done.code, done.out) == (2, "")
            assert done.err.splitlines()[-1].startswith("Error: ")

    def test_a_name_that_is_not_registered(self, ctl):
        done = ctl("create", "NoColon")
        assert (done.code, done.out) == (2, "")
        assert "'NoColon' is not registered" in done.err

    def test_plain_ascii_terminals(self, ctl, stock):
        assert ctl("call", stock, "echo", "日本", LC_ALL="C").code == 0

    def test_every_exit_code_is_told(self, ctl):
        text = ctl("--help").out
        for row in exits.CTL:
            assert re.search(rf"^  {row.code} +{re.escape(row.meaning)}$", text, re.MULTILINE)

    def test_a_terminal_gets_the_same_facts(self, daemon, stock):
        """Through a pseudo-terminal, where rich draws the table."""
        main, other = pty.openpty()
        env = environment(daemon.run_dir, TERM="xterm", COLUMNS="40")
        subprocess.run([BIN / "agentctl", "agents"], env=env, stdout=other, check=True)
        os.close(other)
        text = b""
        try:
            while part := os.read(main, 65536):
                text += part
        except OSError:  # Linux tells the end of a terminal so
            pass
        os.close(main)
        assert stock in text.decode()
        assert b"\x1b[" in text


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_the_script_is_valid(self, ctl, shell):
        done = ctl("completion", shell)
        assert (done.code, done.err) == (0, "")
        if shell == "bash":
            check = subprocess.run(
                ["bash", "-n"], input=done.out, text=True, capture_output=True, check=False
            )
            assert (check.returncode, check.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("typed", "offered"),
        [
            ("agentctl cr", {"create"}),
            ("agentctl agents --js", {"--json"}),
            ("agentctl completion ", {"bash", "zsh", "fish"}),
        ],
    )
    def test_bash_completes(self, agentctl, typed, offered):
        words = typed.split(" ")
        script = agentctl("completion", "bash").out
        program = (
            f"{script}\nCOMP_WORDS=({' '.join(words)} ''); COMP_CWORD={len(words) - 1}\n"
            f"_agentctl_completion agentctl; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        done = subprocess.run(
            ["bash", "-c", program],
            env=environment("/nonexistent"),
            text=True,
            capture_output=True,
            check=False,
        )
        assert offered <= set(done.stdout.split()), done.stderr


def test_it_answers_quickly_without_a_daemon():
    """Help and completion import neither agentd nor rich."""
    code = (
        "import sys; from agentd_cli.ctl import main; main(['--help'], standalone_mode=False);"
        "sys.exit(bool({'agentd', 'rich', 'zmq', 'dill'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
