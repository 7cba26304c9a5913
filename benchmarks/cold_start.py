"""What a person's first program looks like, as a whole process: see ``rows/cold.py``."""

from typing import Any

import agentd


class Echo(agentd.Agent):
    """An agent that no other process can import."""

    def echo(self, x: Any) -> Any:
        """The same."""
        return x


if __name__ == "__main__":
    print(Echo(to_dist=True).echo("first"), flush=True)
