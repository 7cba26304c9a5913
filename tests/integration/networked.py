"""A daemon on TCP whose workers are, too, and clients of it with a key for each role."""

import dataclasses
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import zmq

import agentd
from agentd import keys
from agentd.keys import Grant, Role
from agentd.protocol.access import admin_grant
from tests.integration.conftest import _RUN, end, environment, wait_until
from tests.integration.gatekeeping import ROLES
from tests.integration.test_protocol import Dealer

PORTS = "20000-20999"
"""Below those that the system gives away; tests that run at the same time share them."""
METHODS = ("e*", "items", "thing*")


class CurveDealer(Dealer):
    """A connection by hand, with keys."""

    def __init__(self, endpoint, pair, server):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
        self.socket.setsockopt(zmq.CURVE_SERVERKEY, server)
        self.socket.connect(endpoint)


class Networked:
    """The daemon's process; each peer knows it by an address of its own.

    So one program is a client with several keys: there is one session for each endpoint.
    """

    def __init__(self, **settings):
        self.folder = tempfile.mkdtemp(prefix="n", dir=_RUN)
        self.config, self.known = f"{self.folder}/server", f"{self.folder}/client"
        self.server = keys.make_pair(self.config, "server", "server")
        keys.make_pair(self.known, "client", "client")
        self.pairs = {}
        for number, name in enumerate(("own", *ROLES, "second", "chief")):
            pair = keys.make_pair(f"{self.folder}/{name}", "client", name)
            self.pairs[name] = (f"127.0.0.{number + 2}", pair)
            self.grant(name)
        config = {
            "bind": (f"ipc://{self.folder}/own.sock", "tcp://0.0.0.0:0"),
            "worker_ports": PORTS,
            "config_dir": self.config,
            "workers": 1,
            "heartbeat_s": 0.2,
            "client_grace_s": 60.0,
            "specs": {"clerk": "tests.integration.gatekeeping:Clerk"},
            "audit_file": f"{self.folder}/audit.jsonl",
            **settings,
        }
        program = (
            "import sys, logging; logging.basicConfig(level='INFO');"
            "from agentd.config import ServerConfig; from agentd.server.daemon import serve;"
            f"sys.exit(serve(ServerConfig(**{config!r})))"
        )
        self.log = Path(self.folder, "log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", program], env=environment(), stderr=log
            )
        self.port = int(wait_until(self._listening, "the daemon to listen")[1])
        for name in self.pairs:
            keys.write_pin(self.known, self.endpoint(name), self.server.public, code=True)

    def _listening(self):
        assert self.process.poll() is None, self.said()
        return re.search(r"tcp://0.0.0.0:(\d+)", self.said())

    def said(self):
        return self.log.read_text()

    def grant(self, name):
        """Let that peer in, with the role that it is called after."""
        pair = self.pairs[name][1]
        who = keys.who_of(pair.public)
        if name == "own":
            grant = dataclasses.replace(admin_grant(who), name="own-by-key")
        else:
            role = {"second": "caller", "chief": "operator"}.get(name, name)
            agents = ("*",) if name == "chief" else ("listed*",)
            grant = Grant(who, name, frozenset({Role(role)}), agents, METHODS)
        keys.write_grant(self.config, grant, pair.public)

    def who(self, name):
        return keys.who_of(self.pairs[name][1].public)

    def endpoint(self, name):
        return f"tcp://{self.pairs[name][0]}:{self.port}"

    def keys_for(self, endpoint):
        """In place of what a client reads from its one folder."""
        from agentd.transport.curve import Keys

        [pair] = [p for name, (_, p) in self.pairs.items() if self.endpoint(name) == endpoint]
        return Keys(pair.public, pair.secret, self.server.public)

    def client(self, name):
        return agentd.connect(self.endpoint(name))

    @property
    def local(self):
        """As the daemon's own user."""
        return agentd.connect(f"ipc://{self.folder}/own.sock")

    def place(self, agent, name="own"):
        """Where a client over TCP is told that an agent is."""
        from agentd.client.runtime import runtime

        identity = bytes.fromhex(agentd.handle(agent).id)
        return runtime().session_at(self.endpoint(name)).places.locate(identity)

    def at_worker(self, place, name):
        """A connection by hand to the worker of that place."""
        host, pair = self.pairs[name]
        return CurveDealer(f"tcp://{host}:{place.port}", pair, place.key)

    def at_daemon(self, name):
        """The same to the daemon."""
        return CurveDealer(self.endpoint(name), self.pairs[name][1], self.server.public)

    def link(self, name):
        """The connection of a client to the worker's own door, if there is one."""
        from agentd.client.runtime import runtime

        links = runtime().session_at(self.endpoint(name)).workers.links.values()
        found = [link for link in links if link is not None and link.down is None]
        return found[0] if found else None

    def close(self):
        end(self.process)


def believing(one, patch):
    """Have this program be a client with the keys of each role; ``patch``: a ``MonkeyPatch``."""
    import agentd.client.tcp

    patch.setenv("AGENTD_CONFIG_DIR", one.known)
    patch.setattr(agentd.client.tcp, "_keys", one.keys_for)
