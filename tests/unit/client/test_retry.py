"""When a call is tried again, and after how long."""

import pytest

from agentd import Retry
from agentd.client.about import IDEMPOTENT
from agentd.client.pending import LinkDown
from agentd.errors import (
    AgentCrashed,
    AgentNotFound,
    CallCancelled,
    CallTimeout,
    ConfigError,
    ConnectionLost,
    DaemonNotFound,
    Draining,
    Overloaded,
    RemoteError,
    WouldDeadlock,
)


def delays(retry):
    return [retry.delay(attempt) for attempt in range(1, retry.times + 1)]


def test_fixed_delays_are_all_the_same():
    assert delays(Retry.fixed(4, 0.5, jitter=False)) == [0.5] * 4


def test_exponential_delays_double_up_to_the_most():
    retry = Retry.exponential(6, 0.1, 1.0, jitter=False)
    assert delays(retry) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("retry", [Retry.fixed(500, 2.0), Retry.exponential(500, 2.0, 2.0)])
def test_jitter_spreads_from_half_to_one_and_a_half(retry):
    found = delays(retry)
    assert 1.0 <= min(found) < 1.2
    assert 2.8 < max(found) <= 3.0
    assert len(set(found)) > 400


def test_a_thousandth_attempt_has_a_delay_too():
    assert Retry.exponential(2_000, jitter=False).delay(1_000) == 30.0


@pytest.mark.parametrize("times", [0, -1, 1.5, True, None])
def test_times_is_a_number_from_one_on(times):
    for make in (Retry.fixed, Retry.exponential):
        with pytest.raises(ConfigError, match="times"):
            make(times)


NEVER = (
    ValueError("user"),
    RemoteError("user"),
    CallTimeout("late"),
    CallCancelled("given up"),
    WouldDeadlock("round"),
    AgentNotFound("ended"),
)
NOT_STARTED = (
    Overloaded("busy"),
    DaemonNotFound("none"),
    Draining("stopping"),
    LinkDown("broken", sent=False),
    ConnectionLost("broken", sent=False),
)
PERHAPS = (AgentCrashed("died"), ConnectionLost("broken"), LinkDown("broken", sent=True))


@pytest.mark.parametrize(
    ("errors", "plain", "idempotent"),
    [(NEVER, False, False), (NOT_STARTED, True, True), (PERHAPS, False, True)],
)
def test_only_where_it_is_safe(errors, plain, idempotent):
    retry = Retry.fixed()
    for error in errors:
        assert retry.applies(error, 0) is plain, error
        assert retry.applies(error, IDEMPOTENT) is idempotent, error
        assert retry.applies(error, ~IDEMPOTENT) is plain, error
