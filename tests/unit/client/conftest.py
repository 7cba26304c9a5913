"""Sockets that somebody listens on: clients look at them before they connect."""

import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from agentd.transport.sockets import DealerPort
from tests.unit.client.fakes import World


class Listeners:
    """Files of sockets, in a folder whose path leaves room for their names."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="agu", dir="/tmp")
        self._sockets = {}

    def __call__(self, name):
        endpoint = f"ipc://{self.folder}/{name}"
        found = self._sockets[endpoint] = socket.socket(socket.AF_UNIX)
        found.bind(f"{self.folder}/{name}")
        found.listen(1000)
        return endpoint

    def gone(self, endpoint):
        """Nobody listens there any more."""
        self._sockets.pop(endpoint).close()
        Path(endpoint.removeprefix("ipc://")).unlink()

    def end(self):
        for found in self._sockets.values():
            found.close()
        shutil.rmtree(self.folder)


@pytest.fixture
def listen():
    found = Listeners()
    yield found
    found.end()


@pytest.fixture
def world(listen, monkeypatch):
    # Connected at once; what is polled for it otherwise are real sockets.
    monkeypatch.setattr(DealerPort, "wait_connected", lambda *_: True)
    return World(listen)
