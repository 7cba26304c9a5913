"""Sockets that somebody listens on: clients look at them before they connect."""

import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from tests.unit.client.fakes import World


class Listeners:
    """Files of sockets, in a folder whose path leaves room for their names."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="agu", dir="/tmp")
        self._sockets = {}

    def __call__(self, name, scheme):
        endpoint = f"{scheme}://{self.folder}/{name}"
        found = self._sockets[endpoint] = socket.socket(socket.AF_UNIX)
        found.bind(f"{self.folder}/{name}")
        found.listen(1000)
        return endpoint

    def gone(self, endpoint):
        """Nobody listens there any more."""
        self._sockets.pop(endpoint).close()
        Path(endpoint.partition("://")[2]).unlink()

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
    found = World(listen)
    monkeypatch.setattr("agentd.client.daemon.dial_daemon", found.network.dial_daemon)
    monkeypatch.setattr("agentd.client.workers.dial_worker", found.network.dial_worker)
    return found
