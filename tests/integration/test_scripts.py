"""Classes of a script, of its folder and of a notebook, which the daemon cannot import."""

import pytest


def test_everything_of_main(script, shared):
    lines = script.run(
        """
import dataclasses, enum, agentd, functools
from typing import NamedTuple
FACTOR = 3
class Color(enum.Enum):
    RED = 1
@dataclasses.dataclass
class Item:
    n: int
    def twice(self): return Item(self.n * 2)
class Pair(NamedTuple):
    a: int
    b: int
class Problem(Exception):
    def __init__(self, item): super().__init__("problem"); self.item = item
class Base(agentd.Agent):
    def __init__(self, n): self.n = n
    def base(self): return helper(self.n)
class Agent(Base):
    def __init__(self, n):
        super().__init__(n)
        self.items = [Item(n)]
    def checks(self, item, color, pair, other):
        return (isinstance(item, Item), type(item) is Item, color is Color.RED,
                isinstance(pair, Pair), isinstance(other, Agent), isinstance(self, Base))
    def item(self): return self.items[0].twice()
    def color(self): return Color.RED
    def apply(self, function, *args): return function(*args)
    def give(self): return helper
    def fail(self): raise Problem(Item(9))
    def main(self): return __name__, __class__.__name__
def helper(n): return n * FACTOR
for agent in (Agent(2, to_dist=True), Agent(2).to_dist()):
    print(agent.checks(Item(1), Color.RED, Pair(1, 2), agent))
    print(agent.base(), agent.item() == Item(4), type(agent.item()) is Item, end=" ")
    print(agent.color() is Color.RED)
    print(agent.items, agent.apply(helper, 5), agent.apply(lambda x: x + FACTOR, 1))
    print(agent.apply(functools.partial(helper), 1), agent.give()(2), agent.main())
    print(isinstance(agent, Agent), isinstance(agent, Base))
    try: agent.fail()
    except Problem as p: print(p.item)
""",
        AGENTD_ENDPOINT=shared.endpoint,
    )
    each = [
        "(True, True, True, True, True, True)",
        "6 True True True",
        "[Item(n=2)] 15 4",
        "3 6 ('__main__', 'Agent')",
        "True True",
        "Item(n=9)",
    ]
    assert lines == each * 2


HELPING = """
STEP = 5
def step(n): return n + STEP
class Tool:
    def use(self, n): return step(n)
"""
DEEP = """
import agentd
from . import sub2
class Deep(agentd.Agent):
    def go(self): return sub2.VALUE
"""


def test_a_module_of_the_scripts_own_folder(script, shared):
    script.write(HELPING, "helping.py")
    script.write("", "package/__init__.py")
    script.write(DEEP, "package/sub.py")
    script.write("VALUE = 'deep'", "package/sub2.py")
    text = """
import agentd, helping
from helping import Tool
from package.sub import Deep
class Agent(agentd.Agent):
    def __init__(self): self.tool = Tool()
    def go(self, tool):
        return self.tool.use(1), helping.step(1), isinstance(tool, Tool), tool.use(10)
for agent in (Agent(to_dist=True), Agent().to_dist()):
    print(agent.go(Tool()), type(agent.tool) is Tool)
print(Deep(to_dist=True).go(), Deep().to_dist().go())
"""
    expected = ["(6, 6, True, 15) True"] * 2 + ["deep deep"]
    # a daemon of somebody else, and an embedded one
    assert script.run(text, AGENTD_ENDPOINT=shared.endpoint) == expected
    assert script.run(text) == expected


def test_two_scripts_with_the_same_names_never_mix(script, shared):
    # Given two programs that run at the same time, one of them with more operators
    text = """
import sys, agentd
class Item:
    def who(self): return WHO
class Agent(agentd.Agent):
    def who(self): return WHO, Item().who()
    def is_item(self, item): return type(item) is Item, item.who()
    EXTRA
def helper(): return WHO
agent = Agent(to_dist={"name": WHO, "lifetime": "client"})
def show():
    other = agentd.connect().get("one" if WHO == "two" else "two")
    print(agent.who(), agent.is_item(Item()), agent.is_item(Item()), isinstance(agent, Agent))
    print(other.who(), len(other) if WHO == "two" else "", sep="")
print("made", flush=True)
input()
show()
print("shown", flush=True)
input()
"""
    processes = [
        script.start(
            text.replace("WHO", repr(who)).replace("EXTRA", extra),
            name=f"{who}.py",
            AGENTD_ENDPOINT=shared.endpoint,
        )
        for who, extra in (("one", "def __len__(self): return 77"), ("two", ""))
    ]

    def step(last):
        lines = []
        for process in processes:
            lines.append([])
            while not lines[-1] or lines[-1][-1] != last:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                lines[-1].append(line.strip())
        return lines

    step("made")
    # When
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    one, two = step("shown")
    # Then
    assert one[0] == "('one', 'one') (True, 'one') (True, 'one') True"
    assert two[0] == "('two', 'two') (True, 'two') (True, 'two') True"
    assert one[1] == "('two', 'two')"
    assert two[1] == "('one', 'one')77"


def test_one_module_in_two_versions(script, shared):
    text = "from tool import Agent\nprint(Agent(to_dist=True).version())\n"
    code = "import agentd\nclass Agent(agentd.Agent):\n    def version(self): return {!r}\n"
    for version in ("first", "second"):
        folder = script.folder / version
        script.write(code.format(version), f"{version}/tool.py")
        assert script.run(text, name=f"{version}/script.py", AGENTD_ENDPOINT=shared.endpoint) == [
            version
        ], folder


def test_a_notebook_redefines_a_class_cell_by_cell(script, shared):
    lines = script.run(
        """
import __main__, agentd
def cell(number, src):
    exec(compile(src, f"<ipython-input-{number}>", "exec"), vars(__main__))
cell(1, '''
import agentd
class Agent(agentd.Agent):
    def __init__(self, n): self.n = n
    def value(self): return self.n
''')
cell(2, "a = Agent(1, to_dist=True); b = Agent(2).to_dist(); print(a.value(), b.value())")
cell(3, '''
def double(n): return n * 2
class Agent(agentd.Agent):
    def __init__(self, n): self.n = n
    def value(self): return double(self.n)
''')
cell(4, "c = Agent(1, to_dist=True); d = Agent(2).to_dist()")
cell(4, "print(a.value(), b.value(), c.value(), d.value())")
cell(5, "def double(n): return n * 100\\nprint(c.value(), Agent(1, to_dist=True).value())")
cell(6, "print(isinstance(c, Agent), a == a, [x.n for x in (a, b, c, d)])")
""",
        AGENTD_ENDPOINT=shared.endpoint,
    )
    assert lines == ["1 2", "1 2 2 4", "2 100", "True True [1, 2, 1, 2]"]


def test_python_c_and_standard_input(shared):
    import subprocess
    import sys

    from tests.integration.conftest import environment

    text = """
import agentd
class A(agentd.Agent):
    def go(self): return __name__
print(A(to_dist=True).go(), A().to_dist().go())
"""
    for args, given in ((["-c", text], ""), (["-"], text)):
        done = subprocess.run(
            [sys.executable, *args],
            input=given,
            capture_output=True,
            text=True,
            env=environment(AGENTD_ENDPOINT=shared.endpoint),
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("__main__ __main__\n", "")


CLIENTS = """
import os, sys, agentd, multiprocessing, threading
from concurrent.futures import ThreadPoolExecutor
class Agent(agentd.Agent):
    def __init__(self, n=0): self.n = n
    def add(self, k=1):
        self.n += k
        return self.n
    def pid(self): return os.getpid()
def use(agent):
    agent.add()
    return os.getpid(), type(agent).__name__, isinstance(agent, Agent)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_pool_of_processes_uses_a_proxy(script, shared, method):
    lines = script.run(
        CLIENTS
        + f"""
if __name__ == "__main__":
    agent = Agent(to_dist=True)
    agent.add()
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        found = pool.map(use, [agent] * 6)
    print(agent.n, {{kind for _, kind, _ in found}}, os.getpid() in {{pid for pid, *_ in found}})
    print({{same for *_, same in found}})
""",
        AGENTD_ENDPOINT=shared.endpoint,
    )
    assert lines == ["7 {'RpcObject[Agent]'} False", "{True}"]


@pytest.mark.parametrize("state", ["ready", "still being made"])
def test_a_forked_child_uses_the_proxy_of_its_parent(script, shared, state):
    lines = script.run(
        CLIENTS
        + f"""
import time
class Slow(Agent):
    def __init__(self):
        super().__init__()
        time.sleep(0.5)
agent = Slow(to_dist=True)
if {state!r} == "ready":
    agent.add(0)
child = os.fork()
if child == 0:
    agent.add()
    other = Agent(5, to_dist=True)
    ok = other.add() == 6 and agent != other
    sys.exit(0 if ok else 3)
agent.add()
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), agent.n)
""",
        AGENTD_ENDPOINT=shared.endpoint,
    )
    assert lines == ["0 2"]


def test_a_forked_child_leaves_the_embedded_daemon_of_its_parent_alone(script):
    lines = script.run(
        CLIENTS
        + """
agent = Agent(to_dist=True)
agent.add()
child = os.fork()
if child == 0:
    agent.add()
    sys.exit(0)  # with all that runs at exit
os.waitpid(child, 0)
print(agent.add(), agentd.handle(agent).info()["restarts"])
"""
    )
    assert lines == ["3 0"]


def test_twenty_threads_and_one_agent_and_many(script, shared):
    lines = script.run(
        CLIENTS
        + """
one, many = Agent(to_dist=True), [Agent(to_dist=True) for _ in range(20)]
def work(i):
    for _ in range(50):
        one.add()
        many[i].add()
    return many[i].n
with ThreadPoolExecutor(20) as pool:
    print(set(pool.map(work, range(20))), one.n)
""",
        AGENTD_ENDPOINT=shared.endpoint,
    )
    assert lines == ["{50} 1000"]


def test_a_thread_that_waits_long_does_not_hold_up_the_others(script, shared):
    lines = script.run(
        """
import agentd, threading
class Gate(agentd.Agent):
    def __init__(self): self.event = None
    def wait_for(self, other):
        while not other.open: pass
        return "through"
class Door(agentd.Agent):
    open = False
gate, door = Gate(to_dist=True), Door(to_dist=True)
result = []
thread = threading.Thread(target=lambda: result.append(gate.wait_for(door)))
thread.start()
for _ in range(100): assert door.open is False
door.open = True
thread.join()
print(result)
""",
        AGENTD_ENDPOINT=shared.endpoint,
    )
    assert lines == ["['through']"]


def test_an_agent_makes_agents_and_they_end_with_it(script, shared):
    lines = script.run(
        """
import agentd
class Child(agentd.Agent):
    def __init__(self, n): self.n = n
    def value(self): return self.n
class Parent(agentd.Agent):
    def __init__(self):
        self.first = Child(1, to_dist=True)
    def make(self, n, **options): return Child(n, to_dist=options or True)
    def live(self, n): return Child(n).to_dist()
    def total(self, *more): return self.first.value() + sum(m.value() for m in more)
parent = Parent(to_dist=True)
children = [parent.first, parent.make(2), parent.live(3)]
kept = parent.make(4, name="kept")
print([c.value() for c in children], parent.total(*children), kept.value())
print({agentd.handle(c).endpoint for c in children} == {agentd.handle(parent).endpoint})
agentd.handle(parent).delete()
there = {agentd.handle(child).id for child in children}
while there & {agent["id"] for agent in agentd.connect().agents()}: pass
for child in children:
    try: child.value()
    except agentd.errors.AgentNotFound as e: print("the agent that made it" in str(e))
print(kept.value())
agentd.handle(kept).delete()
""",
        AGENTD_ENDPOINT=shared.endpoint,
    )
    assert lines == ["[1, 2, 3] 7 4", "True", "True", "True", "True", "4"]


def test_a_script_ends_by_itself_with_calls_and_starts_still_open(script, shared):
    text = """
import agentd, threading, time
class Sleeper(agentd.Agent):
    def __init__(self, s=0): time.sleep(s)
    def sleep(self, s): time.sleep(s)
Sleeper(1, to_dist=True)
agent = Sleeper(to_dist=True)
def call():
    try: agent.sleep(2)
    except agentd.errors.AgentdError: pass  # we are ending
threading.Thread(target=call, daemon=True).start()
agent.sleep.submit(2)
agentd.handle(agent).wait(30)
print("end")
"""
    assert script.run(text, AGENTD_ENDPOINT=shared.endpoint) == ["end"]
    assert script.run(text) == ["end"]


def test_what_an_agent_prints_stays_with_it(script, shared):
    text = """
import agentd, sys
class Talker(agentd.Agent):
    def talk(self): print("to out"); print("to err", file=sys.stderr)
agent = Talker(to_dist=True)
agent.talk()
lines = agentd.connect().logs(agentd.handle(agent).id, wait=5)["lines"]
print(sorted((line["stream"], line["text"]) for line in lines))
"""
    lines = script.run(text, AGENTD_ENDPOINT=shared.endpoint)
    assert lines == ["[('stderr', 'to err'), ('stdout', 'to out')]"]


def test_an_interrupted_call_leaves_the_connection_usable(script, shared):
    text = """
import agentd, signal, time
class Sleeper(agentd.Agent):
    def sleep(self, s): time.sleep(s); return s
agent = Sleeper(to_dist=True)
agent.sleep(0)
def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
for _ in range(3):
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try: agent.sleep(0.4)
    except KeyboardInterrupt: print("interrupted", agent.sleep(0))
"""
    assert script.run(text, AGENTD_ENDPOINT=shared.endpoint) == ["interrupted 0"] * 3
