"""A proxy is a reference: agents get it as an argument, return it, and pass themselves on."""

from __future__ import annotations

import os
import sys

import agentd


class Ledger(agentd.Agent):
    """One for all. Its calls run one at a time, so nothing is lost when several shops sell."""

    def __init__(self) -> None:
        self.sales: list[tuple[str, int]] = []

    def record(self, shop: str, amount: int) -> None:
        self.sales.append((shop, amount))

    def total(self) -> int:
        return sum(amount for _, amount in self.sales)


class Shop(agentd.Agent):
    def __init__(self, name: str, ledger: Ledger) -> None:
        self.name = name
        self.ledger = ledger  # a reference to the agent, not a copy of it

    def sell(self, amount: int) -> int:
        self.ledger.record(self.name, amount)  # this agent calls that one
        return self.ledger.total()

    def join(self, street: Street) -> None:
        street.add(self.name, self)  # `self` travels as a reference, too

    def pid(self) -> int:
        return os.getpid()


class Street(agentd.Agent):
    def __init__(self) -> None:
        self.shops: dict[str, Shop] = {}

    def add(self, name: str, shop: Shop) -> None:
        self.shops[name] = shop

    def shop(self, name: str) -> Shop:
        return self.shops[name]  # a proxy as a result


def main() -> int:
    try:
        ledger = Ledger(to_dist=True)
        street = Street(to_dist=True)
        for name in ("baker", "florist"):
            Shop(name, ledger, to_dist=True).join(street)

        baker, florist = street.shop("baker"), street.shop("florist")
        print(f"Here is process {os.getpid()}; the shops are in {baker.pid()} and {florist.pid()}.")
        print(f"The baker sells for 3, the ledger has {baker.sell(3)}.")
        print(f"The florist sells for 20, the ledger has {florist.sell(20)}.")
        print(f"Asked directly, the ledger has {ledger.total()}: {ledger.sales}")
        print(f"What the street returned is a {type(baker).__name__}: {baker!r}")
        print(f"isinstance(baker, Shop): {isinstance(baker, Shop)}")
        print(f"street.shop('baker') is the same agent: {street.shop('baker') == baker}")
    except agentd.errors.AgentdError as error:
        print(f"agents_calling_agents: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
