"""Breaking connections of this process."""

from agentd.client.runtime import runtime


def cut() -> None:
    """Break every one that carries calls."""
    for session in list(runtime()._sessions.values()):
        links = [link for link in list(session.workers.links.values()) if link is not None]
        if not session.workers.direct and session.daemon.link is not None:
            links.append(session.daemon.link)
        for link in links:
            link.fail("cut by the test")
