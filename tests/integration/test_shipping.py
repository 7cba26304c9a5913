"""Modules beside a program travel with its agents, by content, in versions side by side."""

import pytest

HELPERS = """
VERSION = {version}
SEEN = []
def scale(n):
    SEEN.append(n)
    return n * VERSION
"""
PROGRAM = """
import agentd, sys
class Late(agentd.Agent):
    def scale(self, n):
        import helpers
        return helpers.scale(n)
    def seen(self):
        from helpers import SEEN
        return SEEN
    def where(self):
        import helpers
        return helpers.__file__
    def data(self):
        from pathlib import Path
        import helpers
        return Path(helpers.__file__).with_name("data.txt").read_text()
"""


@pytest.fixture
def program(script, shared):
    """A script with a helper, which its agent imports when it is called.

    Its text is another one in each test: a worker keeps a module, and what is in it, for the next
    agent with the same.
    """
    script.write(f"# {script.folder}" + HELPERS.format(version=1), "helpers.py")

    def run(text, **more):
        return script.run(PROGRAM + text, AGENTD_ENDPOINT=shared.endpoint, **more)

    return run


def test_an_import_inside_a_method(program):
    lines = program("""
for agent in (Late(to_dist=True), Late().to_dist()):
    print(agent.scale(2))
""")
    assert lines == ["2", "2"]


def test_a_file_beside_a_module_is_found_where_it_is(program, script):
    script.write("beside", "data.txt")
    assert program("print(Late(to_dist=True).data())") == ["beside"]


def test_an_edit_is_used_by_new_agents_and_the_old_ones_keep_theirs(program, script):
    first = program("""
import os
options = {"name": f"first-{os.getpid()}", "lifetime": "daemon"}
print(Late(to_dist=options).scale(2), options["name"])
""")
    value, name = first[0].split()
    assert value == "2"

    script.write(HELPERS.format(version=10), "helpers.py")
    second = program(f"""
old = agentd.connect().get({name!r})
new = Late(to_dist=True)
print(new.scale(2), old.scale(2), new.scale(3), old.scale(3))
print(new.seen(), old.seen())
agentd.handle(old).delete()
""")

    assert second == ["20 2 30 3", "[2, 3] [2, 2, 3]"]


def test_a_class_of_a_module_beside_shares_its_modules_state(program, script):
    script.write(
        "import agentd, helpers\n"
        "class Counter(agentd.Agent):\n"
        "    def add(self): helpers.SEEN.append(1); return len(helpers.SEEN)\n"
        "    def late(self):\n"
        "        import helpers as again\n"
        "        return len(again.SEEN), again is helpers\n",
        "counters.py",
    )
    lines = program("""
from counters import Counter
c = Counter(to_dist=True)
print(c.add(), c.add(), c.late(), isinstance(c, Counter))
""")
    assert lines == ["1 2 (2, True) True"]


def test_packages_and_relative_imports(program, script):
    script.write("", "tools/__init__.py")
    script.write("from .deep import core\ndef go(): return core.VALUE", "tools/run.py")
    script.write("", "tools/deep/__init__.py")
    script.write("from ..other import VALUE", "tools/deep/core.py")
    script.write("VALUE = 'through three modules'", "tools/other.py")
    lines = program("""
class Deep(agentd.Agent):
    def go(self):
        from tools.run import go
        return go()
print(Deep(to_dist=True).go())
""")
    assert lines == ["through three modules"]


def test_what_is_not_named_in_an_import_is_shipped_by_name(program, script):
    script.write("", "plugins/__init__.py")
    script.write("VALUE = 'plugged'", "plugins/one.py")
    script.write("VALUE = 'alone'", "extra.py")
    lines = program("""
import importlib
class Loads(agentd.Agent):
    def load(self, name):
        import importlib
        return importlib.import_module(name).VALUE
agent = Loads(to_dist=True)
try: agent.load("extra")
except ModuleNotFoundError as error: print("not there:", error.name)
agent = Loads(to_dist={"ship": ["plugins", "extra"]})
print(agent.load("plugins.one"), agent.load("extra"))
""")
    assert lines == ["not there: extra", "plugged alone"]


def test_nothing_is_shipped_if_so_told(program, script):
    script.write("", "never_sent.py")
    lines = program("""
class Imports(agentd.Agent):
    def go(self):
        import never_sent
try: Imports(to_dist={"ship": False}).go()
except ModuleNotFoundError as error: print(error)
""")
    assert lines == ["No module named 'never_sent'"]


def test_an_unknown_name_is_refused(program):
    lines = program("""
try: Late(to_dist={"ship": ["no_such_module"]})
except agentd.errors.ConfigError as error: print(error)
try: Late(to_dist={"ship": 3})
except agentd.errors.ConfigError as error: print(error)
""")
    assert lines[0].startswith("to_dist: ship names 'no_such_module'")
    assert lines[1] == "to_dist: ship is True, False or a list of names, not 3"


def test_a_thousand_agents_send_a_file_once(program, script, shared):
    lines = program("""
from agentd.client.link import Link
sent = []
submit = Link.submit
def counting(self, make, *args, **kwargs):
    pending = submit(self, make, *args, **kwargs)
    sent.append(getattr(getattr(make, "func", None), "__name__", ""))
    return pending
Link.submit = counting
agents = [Late(to_dist=True) for _ in range(100)]
print(sum(a.scale(1) for a in agents), sent.count("Offer"), sent.count("Supply") <= 1)
""")
    assert lines == ["100 1 True"]


def test_a_traceback_names_the_file_as_its_author_knows_it(program, script):
    script.write("def scale(n):\n    raise ValueError(n)  # here\n", "helpers.py")
    lines = program("""
try: Late(to_dist=True).scale(1)
except ValueError as error:
    import traceback
    print("".join(traceback.format_exception(error)))
""")
    assert f'File "{script.folder}/helpers.py", line 2, in scale' in "\n".join(lines)
    assert any("raise ValueError(n)  # here" in line for line in lines)


def test_an_agent_that_makes_agents_ships_what_it_got(program, script):
    lines = program("""
class Maker(agentd.Agent):
    def make(self):
        self.late = Late(to_dist={"worker": "dedicated"})
        return self.late.scale(3)
print(Maker(to_dist=True).make())
""")
    assert lines == ["3"]


def test_it_is_there_again_after_a_crash(program, script):
    lines = program("""
import os
class Dies(Late):
    def die(self): os._exit(1)
agent = Dies(to_dist=True)
print(agent.scale(5))
try: agent.die()
except agentd.errors.AgentCrashed: pass
print(agent.scale(6))
""")
    assert lines == ["5", "6"]


def test_a_namespace_that_came_along_hides_nothing_of_the_workers_own(script, start_daemon):
    """Another agent, which brings nothing, finds its module in that namespace on the path."""
    script.write("VALUE = 'brought'", "space/brought.py")
    own = script.folder / "own" / "space"
    own.mkdir(parents=True)
    (own / "mine.py").write_text("class Mine:\n    def ask(self): return 'of the worker'\n")
    daemon = start_daemon(workers=1, path=(str(own.parent),))
    lines = script.run(
        """
import agentd
class Brings(agentd.Agent):
    def go(self):
        from space.brought import VALUE
        return VALUE
print(Brings(to_dist=True).go())
print(agentd.connect().create("space.mine:Mine").ask())
""",
        AGENTD_ENDPOINT=daemon.endpoint,
    )
    assert lines == ["brought", "of the worker"]
