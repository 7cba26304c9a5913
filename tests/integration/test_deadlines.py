"""Deadlines: per call, agent and client; for queueing and running; inherited."""

import time

import pytest

import agentd
from agentd.errors import CallTimeout, ConfigError
from tests.integration.conftest import LONG_S, wait_until
from tests.integration.streamers import Streamer, Worker

SHORT_S = 0.2
SOON_S = 5.0


def times_out(action):
    began = time.monotonic()
    with pytest.raises(CallTimeout) as caught:
        action()
    assert SHORT_S * 0.5 < time.monotonic() - began < SOON_S
    return caught.value


@pytest.mark.parametrize("method", ["spin", "looks"])
def test_a_running_call_that_is_late_is_told_to_end(hosted, method):
    agent = hosted(Worker)
    agentd.handle(agent).wait(LONG_S)  # else it might be made for longer than that
    error = times_out(lambda: getattr(agent, method).options(timeout=SHORT_S)(method))
    assert isinstance(error, TimeoutError)
    assert error.method == method
    assert agent.add() == 1, "the agent is usable"
    assert len(agent.state()[1]) == 1


def test_an_async_def_call_that_is_late_is_told_to_end(hosted):
    agent = hosted(Worker)
    times_out(lambda: agent.naps.options(timeout=SHORT_S)("naps").result())
    assert agent.state() == (["naps"], ["naps CancelledError True"])


def test_per_agent_and_a_call_may_say_otherwise(hosted):
    agent = hosted(Worker, timeout=SHORT_S)
    times_out(lambda: agent.sleep(1.0))
    times_out(lambda: agent.sleep.submit(1.0).result())
    assert agent.sleep.options(timeout=LONG_S)(2 * SHORT_S) == 2 * SHORT_S


def test_per_client(shared):
    client = agentd.connect(shared.endpoint, timeout=SHORT_S)
    agent = client.create("tests.integration.streamers:Worker")
    agentd.handle(agent).wait()
    found = client.get(agentd.handle(agent).id)
    for one in (agent, found):
        times_out(lambda one=one: one.sleep(1.0))
    wait_until(lambda: agentd.connect(shared.endpoint).get(agentd.handle(agent).id).add(), "it")
    own = client.create("tests.integration.streamers:Worker", options={"timeout": LONG_S})
    assert own.sleep(2 * SHORT_S) == 2 * SHORT_S
    for one in (agent, own):
        agentd.handle(one).kill()


@pytest.mark.parametrize("timeout", [0, -1, "1", True, float("nan")])
def test_what_is_no_timeout_is_a_config_error(shared, hosted, timeout):
    with pytest.raises(ConfigError, match="timeout"):
        agentd.connect(shared.endpoint, timeout=timeout)
    with pytest.raises(ConfigError, match="timeout"):
        hosted(Worker, timeout=timeout)
    agent = hosted(Worker)
    with pytest.raises(ConfigError, match="timeout"):
        agent.add.options(timeout=timeout)()


def test_expired_in_the_queue_it_never_starts(hosted, tmp_path):
    agent, go, mark = hosted(Worker), tmp_path / "go", tmp_path / "mark"
    busy = agent.waits.submit(str(go), str(mark))
    wait_until(mark.exists, "the call to run")
    times_out(agent.add.options(timeout=SHORT_S))
    times_out(lambda: agent.add.options(timeout=SHORT_S).submit().result())
    times_out(lambda: next(agent.spin.options(timeout=SHORT_S).stream("never")))
    go.touch()
    assert busy.result(LONG_S) == "waited"
    assert agent.add() == 1
    assert agent.state() == (["waits"], [])


def test_nested_calls_inherit_what_is_left(hosted):
    outer, inner = hosted(Worker), hosted(Worker)
    left = outer.ask.options(timeout=LONG_S)(inner, "time_left")
    assert LONG_S - SOON_S < left < LONG_S
    assert outer.ask(inner, "time_left") is None
    times_out(lambda: outer.ask.options(timeout=SHORT_S)(inner, "looks", "looks"))
    assert inner.state() == (["looks"], ["looks True"])


def test_a_shorter_one_of_its_own_holds_for_a_nested_call(hosted):
    outer, inner = hosted(Worker), hosted(Worker, timeout=SHORT_S)
    times_out(lambda: outer.ask.options(timeout=LONG_S)(inner, "sleep", 1.0))


def test_without_a_timeout_a_call_takes_its_time(hosted):
    assert hosted(Worker).sleep(2.0) == 2.0


def test_it_bounds_waiting_for_a_slow_init(shared, tmp_path):
    go = tmp_path / "go"
    agent = Worker(str(go), to_dist=shared.endpoint)
    error = times_out(agent.add.options(timeout=SHORT_S))
    assert error.timeout == SHORT_S
    assert "0.2 s" in str(error)
    times_out(lambda: agent.add.options(timeout=SHORT_S).submit().result())
    times_out(lambda: next(agent.add.options(timeout=SHORT_S).stream()))
    go.touch()
    assert agent.add() == 1, "none of them was carried out later"


def test_a_stream_that_is_late_ends(hosted, tmp_path):
    agent = hosted(Streamer)
    stream = agent.gated.options(timeout=SHORT_S).stream(3, str(tmp_path / "never"), 1)
    found = []
    times_out(lambda: found.extend(iter(stream.__next__, None)) or list(map(found.append, stream)))
    wait_until(lambda: agent.ping.options(timeout=LONG_S)() == "pong", "the agent to be usable")
