"""Each verb: what it asks the client, what it prints, how it exits."""

import json
import subprocess
import sys
import time

import pytest

from agentd import errors
from agentd_cli.ctl import main
from tests.unit.cli.fakes import ENDPOINT, INFO, TALLY


class TestOptions:
    @pytest.mark.parametrize(
        "args",
        [
            ("--endpoint", "ipc:///e", "--json", "ping"),
            ("ping", "--endpoint", "ipc:///e", "--json"),
            ("--json", "ping", "--endpoint=ipc:///e"),
            ("--endpoint", "ipc:///other", "ping", "--endpoint", "ipc:///e", "--json"),
        ],
    )
    def test_before_and_after_the_verb(self, ctl, fake, args):
        done = ctl(*args)
        assert json.loads(done.stdout) == {"endpoint": ENDPOINT, "seconds": 0.00042}
        assert fake.calls == [("connect", "ipc:///e")]

    def test_none_given(self, ctl, fake):
        assert ctl("ping").stdout == f"{ENDPOINT} answered in 0.4 ms\n"
        assert fake.calls == [("connect", None)]

    def test_it_may_wait_for_a_daemon_that_starts(self, ctl, fake, monkeypatch):
        def sleep(_seconds):
            if len(fake.calls) == 2:
                fake.error = None

        monkeypatch.setattr(time, "sleep", sleep)
        fake.error = errors.DaemonNotFound("nobody there")
        assert ctl("ping", "--wait", "60").stdout == f"{ENDPOINT} answered in 0.4 ms\n"
        assert fake.calls == [("connect", None)] * 3

    @pytest.mark.parametrize("error", [errors.DaemonNotFound, errors.AuthenticationFailed])
    def test_it_does_not_wait_untold_nor_where_that_would_not_help(self, ctl, fake, error):
        fake.error = error("no")
        wait = () if error is errors.DaemonNotFound else ("--wait", "60")
        assert ctl("ping", *wait).exit_code != 0
        assert fake.calls == [("connect", None)]

    def test_the_connection_is_closed(self, ctl, fake):
        for verb in (["status"], ["call", "tally", "fail", "x"], ["inspect", "nobody"]):
            ctl(*verb)
        assert fake.closed == 3

    @pytest.mark.parametrize("verb", sorted(main.commands))
    def test_help_of_every_verb(self, ctl, fake, verb):
        done = ctl(verb, "--help")
        assert done.exit_code == 0
        assert f"Usage: agentctl {verb}" in done.stdout
        assert fake.calls == []


class TestLooking:
    def test_status(self, ctl):
        assert "shop" not in ctl("status").stdout
        assert "1h 2m" in ctl("status").stdout
        assert json.loads(ctl("status", "--json").stdout) == INFO

    def test_agents(self, ctl):
        assert TALLY["id"] in ctl("agents").stdout
        assert json.loads(ctl("agents", "--json").stdout) == [TALLY]

    def test_no_agents_says_what_to_do_next(self, ctl, fake):
        fake.found = []
        done = ctl("agents")
        assert (done.exit_code, done.stdout) == (0, "")
        assert "agentctl create PKG.MOD:CLASS" in done.stderr

    def test_no_agents_for_a_program(self, ctl, fake):
        fake.found = []
        done = ctl("agents", "--json")
        assert (json.loads(done.stdout), done.stderr) == ([], "")

    def test_inspect(self, ctl):
        assert "ask = " in ctl("inspect", "tally").stdout
        assert json.loads(ctl("inspect", "tally", "--json").stdout)["methods"]["add"] == {}

    def test_get(self, ctl):
        assert json.loads(ctl("get", "tally", "shelf").stdout) == {"apples": 3}

    def test_get_of_an_attribute_that_is_not_there(self, ctl):
        done = ctl("get", "tally", "nothing")
        assert done.exit_code == 1
        assert done.stderr.startswith("AttributeError: ")


class TestCreate:
    def test_it_waits_and_prints_the_id(self, ctl, fake):
        done = ctl("create", "shop.stock:Counter", "5", "--name", "tally", "--kw", "step=[1, 2]")
        assert done.stdout == TALLY["id"] + "\n"
        options = {"lifetime": "daemon", "name": "tally"}
        assert fake.calls[1:] == [
            ("create", "shop.stock:Counter", (5,), {"options": options, "step": [1, 2]}),
            ("wait", None),
        ]

    def test_without_a_name(self, ctl, fake):
        ctl("create", "shop.stock:Counter")
        assert fake.calls[1][3] == {"options": {"lifetime": "daemon"}}

    def test_for_a_program(self, ctl):
        done = ctl("create", "shop.stock:Counter", "--json")
        assert json.loads(done.stdout) == {
            "id": TALLY["id"],
            "name": "tally",
            "cls": "shop.stock:Counter",
        }

    def test_all_options(self, ctl, fake):
        ctl("create", "a:B", "--name", "x", "--get-if-exists", "--dedicated", "--timeout", "2.5")
        assert fake.calls[1][3] == {
            "options": {
                "lifetime": "daemon",
                "name": "x",
                "get_if_exists": True,
                "worker": "dedicated",
            }
        }
        assert fake.calls[2] == ("wait", 2.5)

    def test_an_empty_name_is_not_no_name(self, ctl, fake):
        ctl("create", "a:B", "--name", "")
        assert fake.calls[1][3]["options"]["name"] == ""

    def test_get_if_exists_needs_a_name(self, ctl):
        done = ctl("create", "a:B", "--get-if-exists")
        assert (done.exit_code, "needs --name" in done.stderr) == (2, True)

    @pytest.mark.parametrize("path", ["", "shop.stock.Counter", ":Counter", "shop:"])
    def test_a_path_that_is_none(self, ctl, fake, path):
        done = ctl("create", path)
        assert done.exit_code == 2
        assert "expected PKG.MOD:CLASS" in done.stderr
        assert fake.calls == []

    def test_a_name_is_one_that_is_registered(self, ctl, fake):
        assert ctl("create", "counter", "5").exit_code == 0
        assert "counter" in fake.calls[1]

    @pytest.mark.parametrize("keyword", ["options", "path", "self"])
    def test_a_keyword_that_agentd_uses(self, ctl, keyword):
        done = ctl("create", "a:B", "--kw", f"{keyword}=1")
        assert (done.exit_code, "agentd uses this keyword itself" in done.stderr) == (2, True)

    def test_an_init_that_fails(self, ctl, fake):
        fake.wait_error = errors.AgentCreationError("shop.stock:Counter: ValueError: no stock")
        done = ctl("create", "shop.stock:Counter")
        assert (done.exit_code, done.stdout) == (5, "")
        assert done.stderr == "AgentCreationError: shop.stock:Counter: ValueError: no stock\n"


class TestCall:
    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("5", 5),
            ("-1", -1),
            ("-2.5e3", -2500.0),
            ("1.5", 1.5),
            ("true", True),
            ("null", None),
            ("hello", "hello"),
            ('"5"', "5"),
            ("[1, {}]", [1, {}]),
            ("007", "007"),
            ("NaN", "NaN"),
            ("-", "-"),
            ("", ""),
            ("[" * 100_000, "[" * 100_000),
        ],
    )
    def test_arguments_are_json_where_they_parse_as_json(self, ctl, typed, meant):
        done = ctl("call", "tally", "add", typed, "--kw", f"k={typed}", "--json")
        assert json.loads(done.stdout) == {"args": [meant], "kwargs": {"k": meant}}

    def test_after_two_dashes_everything_is_an_argument(self, ctl):
        done = ctl("call", "tally", "add", "--", "--json", "-x")
        assert json.loads(done.stdout)["args"] == ["--json", "-x"]

    def test_a_misspelt_option_is_not_sent_to_the_agent(self, ctl, fake):
        done = ctl("call", "tally", "add", "--jsno")
        assert done.exit_code == 2
        assert "No such option" in done.stderr
        assert "--json" in done.stderr
        assert fake.calls == []

    @pytest.mark.parametrize("pair", ["depth", "=3", ""])
    def test_a_keyword_that_is_none(self, ctl, pair):
        assert "expected K=V, like --kw depth=3" in ctl("call", "tally", "add", "--kw", pair).stderr

    def test_a_keyword_twice(self, ctl):
        done = ctl("call", "tally", "add", "--kw", "a=1", "--kw", "a=2")
        assert (done.exit_code, "given before" in done.stderr) == (2, True)

    def test_a_result_that_is_no_plain_data(self, ctl):
        assert ctl("call", "tally", "opaque").stdout == "{1, 2}\n"
        done = ctl("call", "tally", "opaque", "--json")
        assert json.loads(done.stdout) == {"repr": "{1, 2}"}

    def test_what_the_agent_raised_is_one_sentence(self, ctl):
        done = ctl("call", "tally", "fail", "no\n  such \x1b[31mthing")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == "ValueError: no such \\x1b[31mthing\n"

    def test_and_more_only_when_asked(self, ctl):
        done = ctl("call", "tally", "fail", "no \x1b[31mthing", "--traceback")
        assert done.stderr == (
            "ValueError: no \\x1b[31mthing\n"
            "ValueError: no \\x1b[31mthing\n"
            "Remote traceback (most recent call last):\n"
            "  in fail\n"
        )

    def test_of_an_error_on_the_way_the_whole_way_is_shown(self, ctl, fake):
        fake.error = errors.ConnectionLost("broke")
        assert "in connect" in ctl("ping", "--traceback").stderr

    def test_an_attribute_is_no_method(self, ctl):
        done = ctl("call", "tally", "shelf")
        assert (done.exit_code, "read it with: agentctl get tally shelf" in done.stderr) == (2, 1)

    def test_it_waits_no_longer_than_told(self, ctl):
        done = ctl("call", "tally", "never", "--timeout", "0.01")
        assert (done.exit_code, done.stdout) == (7, "")
        assert done.stderr == (
            "CallTimeout: tally.never is not done after 0.01 s; the agent goes on with it\n"
        )

    def test_text_without_quotes(self, ctl):
        assert ctl("call", "tally", "words", "--raw").stdout == "two\twords\\x1b[31m\n"
        assert ctl("call", "tally", "opaque", "--raw").stdout == "{1, 2}\n"

    def test_raw_is_for_people_and_json_for_programs(self, ctl, fake):
        done = ctl("call", "tally", "words", "--raw", "--json")
        assert (done.exit_code, "--raw prints text for people" in done.stderr) == (2, True)
        assert fake.calls == []

    def test_a_generator_says_how_to_read_it(self, ctl):
        done = ctl("call", "tally", "items", "1")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "items gives its items one by one; read them with --stream" in done.stderr


class TestStream:
    """``call --stream``; when the items come is shown with a real agent."""

    ITEMS = ("1", "two", '{"a": ["b"]}', "opaque", '"x\\ny\\u001b[31m"')

    @pytest.mark.parametrize(
        ("option", "printed"),
        [
            ((), '1\n"two"\n{"a": ["b"]}\n{1}\n"x\\ny\\u001b[31m"\n'),
            (("--json",), '1\n"two"\n{"a": ["b"]}\n{"repr": "{1}"}\n"x\\ny\\u001b[31m"\n'),
            (("--raw",), '1\ntwo\n{"a": ["b"]}\n{1}\nx\ny\\x1b[31m\n'),
        ],
    )
    def test_a_line_each(self, ctl, fake, option, printed):
        done = ctl("call", "tally", "items", *self.ITEMS, "--stream", *option)
        assert (done.exit_code, done.stdout, done.stderr) == (0, printed, "")
        assert fake.calls[-1] == ("stream closed",)

    def test_raw_text_makes_one_text(self, ctl):
        done = ctl("call", "tally", "items", "to", "", " be", ",\nor", "--stream", "--raw")
        assert done.stdout == "to be,\nor\n"
        whole = ctl("call", "tally", "items", "to be\n", "", "--stream", "--raw")
        assert whole.stdout == "to be\n"

    def test_nothing(self, ctl):
        for option in ((), ("--json",), ("--raw",)):
            done = ctl("call", "tally", "items", "--stream", *option)
            assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")

    @pytest.mark.parametrize(("option", "printed"), [((), '1\n"a"\n'), (("--raw",), "1\na\n")])
    def test_an_error_comes_after_the_items_before_it(self, ctl, option, printed):
        done = ctl("call", "tally", "items", "1", "a", "fail", "2", "--stream", *option)
        assert (done.exit_code, done.stdout) == (1, printed)
        assert done.stderr == "ValueError: no more\n"

    def test_not_done_in_time(self, ctl):
        done = ctl("call", "tally", "items", "1", "late", "--stream", "--timeout", "0.5")
        assert (done.exit_code, done.stdout) == (7, "1\n")
        assert done.stderr == (
            "CallTimeout: tally.items is not done after 0.5 s; the stream is closed\n"
        )

    def test_another_deadline_is_told_as_it_is(self, ctl):
        done = ctl("call", "tally", "items", "late", "--stream")
        assert (done.exit_code, done.stderr.startswith("CallTimeout: not done")) == (7, True)

    def test_ctrl_c(self, ctl, fake):
        done = ctl("call", "tally", "items", "a", "ctrl-c", "--stream", "--raw")
        assert (done.exit_code, done.stdout, done.stderr) == (130, "a\n", "")
        assert fake.calls[-1] == ("stream closed",)

    def test_an_attribute_is_no_method(self, ctl):
        done = ctl("call", "tally", "shelf", "--stream")
        assert (done.exit_code, "read it with: agentctl get tally shelf" in done.stderr) == (2, 1)


class TestLogs:
    LINES = (
        {"seq": 1, "time": 1_700_000_000.5, "stream": "stdout", "text": "one\tcell"},
        {"seq": 2, "time": 1_700_000_001.0, "stream": "stderr", "text": "two \x1b[2J"},
    )

    def test_all_that_there_is(self, ctl, fake):
        fake.pages = [
            {"lines": [self.LINES[0]], "next": 1, "ended": False},
            {"lines": [self.LINES[1]], "next": 2, "ended": False},
            {"lines": [], "next": 2, "ended": False},
        ]
        done = ctl("logs", "tally")
        assert done.stdout == "22:13:20 stdout one\tcell\n22:13:21 stderr two \\x1b[2J\n"
        assert [call[1:] for call in fake.calls[1:]] == [
            (TALLY["id"], after, 0.0) for after in (0, 1, 2)
        ]

    def test_follow_goes_on_until_the_agent_ends(self, ctl, fake):
        fake.pages = [
            {"lines": [], "next": 0, "ended": False},
            {"lines": [self.LINES[0]], "next": 1, "ended": True},
        ]
        assert ctl("logs", "tally", "-f").stdout.count("\n") == 1
        assert all(call[3] > 1 for call in fake.calls[1:])

    def test_json_is_one_object_a_line(self, ctl, fake):
        fake.pages = [
            {"lines": list(self.LINES), "next": 2, "ended": True},
        ]
        done = ctl("logs", "tally", "--json")
        assert [json.loads(line) for line in done.stdout.splitlines()] == list(self.LINES)

    def test_of_an_agent_that_ended(self, ctl, fake):
        page = {"lines": [self.LINES[0]], "next": 1, "ended": True}
        fake.pages = [page, page]
        assert ctl("logs", "ended").stdout == "22:13:20 stdout one\tcell\n"

    def test_of_an_agent_that_ended_and_left_nothing(self, ctl, fake):
        fake.pages = [{"lines": [], "next": 0, "ended": True}]
        done = ctl("logs", "ended")
        assert (done.exit_code, done.stderr) == (4, "AgentNotFound: no agent ended here\n")

    def test_nothing_printed_yet(self, ctl, fake):
        fake.pages = [{"lines": [], "next": 0, "ended": False}]
        done = ctl("logs", "tally")
        assert (done.exit_code, done.stdout) == (0, "")
        assert "Nothing printed yet" in done.stderr


class TestChanging:
    def test_delete(self, ctl, fake):
        done = ctl("delete", "tally", TALLY["id"])
        assert done.stdout.split() == [TALLY["id"]] * 2
        assert fake.calls[1:] == [("delete", "tally"), ("delete", TALLY["id"])]
        assert json.loads(ctl("delete", "tally", "--json").stdout) == [TALLY["id"]]

    def test_one_that_is_not_there_does_not_keep_the_others(self, ctl):
        done = ctl("delete", "nobody", "tally", "noone")
        assert (done.exit_code, done.stdout) == (4, TALLY["id"] + "\n")
        assert done.stderr.splitlines() == [
            "AgentNotFound: no agent nobody here",
            "AgentNotFound: no agent noone here",
        ]

    def test_delete_needs_an_agent(self, ctl):
        assert ctl("delete").exit_code == 2

    def test_stop(self, ctl, fake):
        assert "is stopping" in ctl("stop").stdout
        assert fake.calls[-1] == ("stop",)


class TestErrors:
    def test_no_daemon_says_what_to_type_next(self, ctl, fake):
        fake.error = errors.DaemonNotFound("nobody listens at ipc:///x", endpoint="ipc:///x")
        done = ctl("agents")
        assert (done.exit_code, done.stdout) == (3, "")
        assert done.stderr == (
            "DaemonNotFound: nobody listens at ipc:///x; start one with: agentd serve\n"
        )
        assert ctl("--endpoint", "ipc:///x", "agents").stderr.endswith("--bind ipc:///x\n")

    def test_the_hint_is_not_given_twice(self, ctl, fake):
        fake.error = errors.DaemonNotFound("nobody listens; start one with: agentd serve")
        assert ctl("agents").stderr.count("agentd serve") == 1
        assert ctl("--endpoint", "ipc:///x", "agents").stderr.endswith("--bind ipc:///x\n")

    def test_one_that_is_there_and_does_not_answer(self, ctl, fake):
        fake.error = errors.DaemonNotFound("is it running? Start one with: agentd serve")
        assert ctl("ping").stderr == (
            "DaemonNotFound: is it running? Start one with: agentd serve\n"
        )

    def test_the_hint_names_the_endpoint_of_the_environment(self, ctl, fake, monkeypatch):
        monkeypatch.setenv("AGENTD_ENDPOINT", "ipc:///my run/x")
        fake.error = errors.DaemonNotFound("nobody listens")
        assert ctl("agents").stderr.endswith("agentd serve --bind 'ipc:///my run/x'\n")

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (
                errors.NameTaken("it exists, or pass get_if_exists=True to use that one"),
                "NameTaken: it exists, or use that one with --get-if-exists",
            ),
            (
                errors.AgentCreationError("no stock", agent="0123456789ab", name=None),
                "AgentCreationError: no stock; its output: agentctl logs 01234567",
            ),
            (
                errors.AgentCrashed("died; its last words:\nbye", name="a b", stderr_tail="bye"),
                "AgentCrashed: died; its last words: bye",
            ),
            (
                errors.AgentCrashed("died; its last words:\na\nb", name="a b", stderr_tail="a\nb"),
                "AgentCrashed: died; its last words: agentctl inspect 'a b'",
            ),
            (
                errors.CallTimeout("not ready after 1 s", agent="0123456789ab"),
                "CallTimeout: not ready after 1 s; it goes on, see: agentctl inspect 01234567",
            ),
        ],
    )
    def test_what_to_type_next(self, ctl, fake, error, told):
        fake.error = error
        assert ctl("status").stderr == told + "\n"

    @pytest.mark.parametrize("verb", ["inspect", "logs", "delete"])
    def test_a_name_that_is_no_text(self, ctl, fake, verb):
        done = ctl(verb, "a\udcff")
        assert (done.exit_code, "a\\udcff is not UTF-8" in done.stderr) == (2, True)
        assert fake.calls == []

    def test_an_agent_that_is_not_there(self, ctl):
        done = ctl("inspect", "nobody")
        assert (done.exit_code, done.stderr) == (4, "AgentNotFound: no agent nobody here\n")

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (errors.ConfigError("x"), 2),
            (errors.NameTaken("x"), 4),
            (errors.AgentCrashed("x"), 6),
            (errors.ConnectionLost("x"), 6),
            (errors.CallTimeout("x"), 7),
            (errors.RemoteError("x"), 1),
            (errors.VersionMismatch("x"), 1),
            (errors.AgentdError("x"), 1),
        ],
    )
    def test_exit_codes(self, ctl, fake, error, code):
        fake.error = error
        done = ctl("status")
        assert (done.exit_code, done.stderr) == (code, f"{error.code}: x\n")

    def test_ctrl_c_is_quiet(self, ctl, fake):
        fake.error = KeyboardInterrupt()
        done = ctl("status")
        assert (done.exit_code, done.stdout) == (130, "")

    def test_a_bug_of_ours_is_not_dressed_up(self, ctl, fake):
        fake.error = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            ctl("status")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(ctl, fake, shell):
    done = ctl("completion", shell)
    assert (done.exit_code, fake.calls) == (0, [])
    assert "_AGENTCTL_COMPLETE" in done.stdout


def test_help_has_the_exit_codes(ctl):
    assert "3    no daemon" in ctl("--help").stdout


def test_help_imports_neither_agentd_nor_rich():
    code = (
        "import sys; from agentd_cli.ctl import main; main(['--help'], standalone_mode=False);"
        "sys.exit(bool({'agentd', 'rich', 'zmq', 'dill'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=_env(), check=False
    )
    assert done.returncode == 0, done.stderr


def _env():
    import os

    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
