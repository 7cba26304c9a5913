"""Scripts, their folders and their classes, as two processes see them."""

import importlib
import json
import os
import subprocess
import sys
import threading

import pytest

from agentd.serialization import Encoded, decode

SEND = """
import json, sys
from agentd.serialization import encode, encode_object
def send(value):
    encoded = encode(value)
    print(json.dumps([encoded.codec, encoded.head.hex()]))
"""


def written_earlier(path):
    """A source file counts only if it is older than the process, to the hundredth of a second."""
    os.utime(path, (1e9, 1e9))


def run(path, *arguments):
    written_earlier(path)
    done = subprocess.run(
        [sys.executable, str(path), *arguments], capture_output=True, text=True, check=True
    )
    return [
        Encoded(codec, bytes.fromhex(head), [])
        for codec, head in map(json.loads, done.stdout.splitlines())
    ]


def test_two_scripts_with_the_same_class_name_do_not_mix(receiver, tmp_path):
    for name in ("one", "two"):
        script = tmp_path / f"{name}.py"
        script.write_text(
            f"{SEND}\nclass Agent:\n    def who(self): return {name!r}\nsend(Agent())"
        )
        receiver.put(run(script)[0], name)
    assert receiver.ask("(one.who(), two.who(), type(one) is type(two))") == ("one", "two", False)


def test_one_script_run_twice_gives_two_classes_that_both_work(receiver, tmp_path):
    script = tmp_path / "twice.py"
    script.write_text(f"{SEND}\nclass Agent:\n    def who(self): return __name__\nsend(Agent())")
    receiver.put(run(script)[0], "one")
    receiver.put(run(script)[0], "two")
    assert receiver.ask("(one.who(), two.who())") == ("__main__", "__main__")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "helpers_beside.py").write_text(
        "import enum\nBASE = 10\nclass Kind(enum.Enum):\n    A = 1\n"
        "class Tool:\n    def use(self, x): return deep(x) + BASE\n"
        "def deep(x): return x * 2\n"
    )
    written_earlier(tmp_path / "helpers_beside.py")
    (tmp_path / "script.py").write_text(
        f"{SEND}\nimport helpers_beside\n"
        "class Agent:\n"
        "    tool = helpers_beside.Tool()\n"
        "    def ask(self, x): return self.tool.use(x) + helpers_beside.deep(1)\n"
        "send(Agent())\nsend(helpers_beside.Tool())\nsend(helpers_beside.Kind.A)"
    )
    return tmp_path


def test_modules_beside_the_script_work_where_they_are_not_found(receiver, folder):
    agent, tool, kind = run(folder / "script.py")
    receiver.put(agent, "agent")
    receiver.put(tool, "tool")
    receiver.put(kind, "kind")
    assert receiver.ask("agent.ask(3)") == 18
    assert receiver.ask("(tool.use(1), kind.name, type(agent.tool) is type(tool))") == (
        12,
        "A",
        True,
    )


def test_the_receivers_own_module_is_used_if_its_source_is_the_same(receiver_with_path, folder):
    _, tool, kind = run(folder / "script.py")
    receiver_with_path.put(tool, "tool", may_import=True)
    receiver_with_path.put(kind, "kind", may_import=True)
    own = "__import__('helpers_beside')"
    assert receiver_with_path.ask(f"type(tool) is {own}.Tool and kind is {own}.Kind.A")


def test_the_receivers_own_module_is_not_used_if_its_source_differs(receiver_with_path, folder):
    _, tool, _ = run(folder / "script.py")
    file = folder / "helpers_beside.py"
    file.write_text(file.read_text().replace("x * 2", "x * 200"))
    receiver_with_path.put(tool, "tool", may_import=True)
    assert receiver_with_path.ask("tool.use(1)") == 12
    assert receiver_with_path.ask("type(tool) is __import__('helpers_beside').Tool") is False


def test_without_leave_nothing_is_imported(receiver_with_path, folder):
    _, tool, _ = run(folder / "script.py")
    receiver_with_path.put(tool, "tool")
    assert receiver_with_path.ask("'helpers_beside' in __import__('sys').modules") is False
    assert receiver_with_path.ask("tool.use(1)") == 12


def test_many_threads_that_receive_a_class_at_once_share_it(tmp_path):
    sender = tmp_path / "sender.py"
    sender.write_text(
        f"{SEND}\nimport enum\n"
        "for n in range(30):\n"
        "    class Kind(enum.Enum):\n        A = 1\n"
        "    class Agent:\n        kind = Kind.A\n"
        "    send(Agent())\n    send([Kind.A, Agent])"
    )
    payloads = run(sender)
    received = tmp_path / "payloads.json"
    received.write_text(json.dumps([[p.codec, p.head.hex()] for p in payloads]))
    script = tmp_path / "threads.py"
    script.write_text(
        f"{SEND}\nimport threading\nfrom agentd.serialization import decode\n"
        "payloads = [(c, bytes.fromhex(h), []) for c, h in json.load(open(sys.argv[1]))]\n"
        "sys.setswitchinterval(1e-6)\n"
        "def work(n, pair, barrier, found):\n"
        "    barrier.wait()\n"
        "    back = decode(*pair[n % 2])\n"
        "    found.append((back[1], back[0]) if n % 2 else (type(back), back.kind))\n"
        "for i in range(0, len(payloads), 2):\n"
        "    barrier, found = threading.Barrier(6), []\n"
        "    args = (payloads[i : i + 2], barrier, found)\n"
        "    threads = [threading.Thread(target=work, args=(n, *args)) for n in range(6)]\n"
        "    [t.start() for t in threads]\n"
        "    [t.join() for t in threads]\n"
        "    send([len(found), len(set(found))])"
    )
    answers = [decode(*answer) for answer in run(script, str(received))]
    assert answers == [[6, 1]] * 30


def test_a_module_that_another_thread_is_importing_is_waited_for(tmp_path, monkeypatch):
    """Half of a module has no class yet, or one whose helpers are missing."""
    (tmp_path / "half_loaded.py").write_text(
        "import sys\n"
        "class Early:\n    def use(self): return below()\n"
        "for step in getattr(sys, 'half_loaded_steps', ()): step()\n"
        "class Late(Early): pass\n"
        "def below(): return 'below'\n"
    )
    written_earlier(tmp_path / "half_loaded.py")
    script = tmp_path / "script.py"
    script.write_text(f"{SEND}\nimport half_loaded as m\nsend(m.Early())\nsend(m.Late())")
    payloads = run(script)
    half, go, came = threading.Event(), threading.Event(), threading.Semaphore(0)
    found = {}

    def receive(name, payload):
        try:
            back = decode(*payload, may_import=True)
            found[name] = type(back), back.use()
        except Exception as error:
            found[name] = error
        came.release()

    def import_module(name, package=None, really=importlib.import_module):
        came.release()
        return really(name, package)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(sys, "half_loaded_steps", (half.set, go.wait), raising=False)
    threads = [threading.Thread(target=receive, args=("first", payloads[1]))]
    threads[0].start()
    assert half.wait(30)
    assert came.acquire(timeout=30)
    for name, payload in zip(("early", "late"), payloads, strict=True):
        threads.append(threading.Thread(target=receive, args=(name, payload)))
        threads[-1].start()
        came.acquire(timeout=30)  # it waits for the module, or has done without
    go.set()
    [thread.join() for thread in threads]
    module = sys.modules.pop("half_loaded")
    assert found == {
        "first": (module.Late, "below"),
        "early": (module.Early, "below"),
        "late": (module.Late, "below"),
    }


def test_a_loaded_module_of_other_source_is_not_used(start_receiver, folder):
    _, tool, _ = run(folder / "script.py")
    file = folder / "helpers_beside.py"
    old = file.read_text()
    file.write_text(old.replace("x * 2", "x * 200"))
    written_earlier(file)
    made = start_receiver(str(folder))
    assert made.ask("__import__('helpers_beside').Tool().use(1)") == 210
    made.put(tool, "tool", may_import=True)
    assert made.ask("tool.use(1)") == 12


def test_a_file_that_changed_since_it_was_loaded_vouches_for_nothing(start_receiver, folder):
    _, tool, _ = run(folder / "script.py")
    file = folder / "helpers_beside.py"
    old = file.read_text()
    file.write_text(old.replace("x * 2", "x * 200"))
    written_earlier(file)
    made = start_receiver(str(folder))
    assert made.ask("__import__('helpers_beside').Tool().use(1)") == 210
    file.write_text(old)  # The source of the payload again, but not of what is loaded.
    made.put(tool, "tool", may_import=True)
    assert made.ask("tool.use(1)") == 12


def test_a_second_run_of_a_script_gets_its_own_class_back(tmp_path):
    """A result that was made for the first run: the second has the same source."""
    script = tmp_path / "rerun.py"
    script.write_text(
        f"{SEND}\nfrom agentd.serialization import decode\n"
        "class Point:\n    def __init__(self, x): self.x = x\n"
        "if len(sys.argv) == 1: send(Point(3))\n"
        "else:\n"
        "    codec, head = json.loads(sys.argv[1])\n"
        "    back = decode(codec, bytes.fromhex(head), [])\n"
        "    send([type(back) is Point, back.x])"
    )
    (payload,) = run(script)
    (answer,) = run(script, json.dumps([payload.codec, payload.head.hex()]))
    assert decode(*answer) == [True, 3]
