"""Over the network, encrypted: a row that waits for TCP endpoints."""

from __future__ import annotations

from benchmarks.contestants import Contestant
from benchmarks.goals import at_least
from benchmarks.rows.row import NotAvailable, Plan, Row, Values, more

__all__ = ["CURVE"]


def _curve(_one: Contestant, _plan: Plan) -> Values:
    from agentd.config import ServerConfig
    from agentd.errors import ConfigError

    try:
        ServerConfig(bind=("tcp://127.0.0.1:0",))
    except ConfigError:
        raise NotAvailable("not available yet: TCP comes with the security release") from None
    raise NotAvailable("TCP endpoints are there now: this row waits to be written")


CURVE = Row(
    "curve",
    "small calls over CURVE TCP, against plain TCP",
    (more("ratio", "calls over CURVE TCP", "× TCP", 2, (at_least(0.5),)),),
    _curve,
    contestants=("agentd",),
    starts=False,
    once=True,
)
