"""Those who come to a worker over the network, without a network."""

import threading
from types import SimpleNamespace

import pytest

from agentd.keys.book import GrantBook
from agentd.transport.connections import Connection, Connections
from agentd.worker.questions import Questions
from agentd.worker.settings import DoorSettings
from agentd.worker.visitors import Visitors
from tests.unit.worker.fakes import LONG_S, Loop

ROUTE = b"route"


class SoonLoop(Loop):
    def __init__(self):
        super().__init__()
        self.soon = []

    def call_soon(self, action):
        self.soon.append(action)


@pytest.fixture
def visitors():
    loop = SoonLoop()
    front = SimpleNamespace(kind="tcp", fd=5, forget=lambda _route: None, on_left=None)
    door = SimpleNamespace(
        connections=Connections(10, loop.clock),
        fronts=[front],
        serve=lambda _deliver: None,
        let_wait=lambda _waits: None,
    )
    settings = SimpleNamespace(
        max_message_bytes=1000, max_queued_bytes=1000,
        client_calls=3, client_bytes=1000, agent_calls=3, agent_bytes=1000,
        daemon_calls=3, daemon_bytes=1000,
    )  # fmt: skip
    told = DoorSettings(
        hosts=["127.0.0.1"], ports=(1, 2), handshake_s=1.0, max_connections=10, max_malformed=5,
        max_header_bytes=100, max_frames=10, max_header_depth=5, max_header_items=10,
    )  # fmt: skip
    host = SimpleNamespace(questions=Questions(settings, loop.clock))
    return Visitors(loop, door, settings, told, GrantBook(None), None, host)


def test_that_a_connection_is_lost_is_heard_while_an_answer_is_sent(visitors):
    # It may be learnt while the socket is read, under the lock of the socket, which a thread that
    # sends an answer waits for: each would wait for the other.
    connection = Connection(9, 0)
    connection.route = ROUTE
    visitors._delivery.sent((0, ROUTE), 500)
    heard = threading.Thread(target=visitors._lost, args=(connection,), daemon=True)
    with visitors._lock:
        heard.start()
        heard.join(LONG_S)
        assert not heard.is_alive()
    assert visitors._delivery.waiting((0, ROUTE)) > 0
    for action in visitors._loop.soon:
        action()
    assert visitors._delivery.waiting((0, ROUTE)) == 0
