"""The client's log, where little is ever written: imported with the first line of it."""

from __future__ import annotations

from typing import Final

__all__ = ["log"]


class _Log:
    """Writes like a logger, and costs a program without defects no import of ``logging``."""

    def exception(self, text: str, *args: object) -> None:
        """Log the exception that is being handled: nobody waits for it, and the others go on."""
        import logging

        logging.getLogger("agentd.client").exception(text, *args, stacklevel=2)


log: Final = _Log()
