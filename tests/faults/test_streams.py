"""Streams whose reader, worker or connection comes to harm."""

import os
import signal
import subprocess
import time

import pytest

import agentd
from agentd.errors import AgentCrashed
from tests.faults.harness import LONG_S, measured, wait_until

READER = """
import sys, agentd
agent = agentd.connect(sys.argv[1], direct=sys.argv[4:] != ["relayed"]).get(sys.argv[2])
stream = agent.tokens.stream(int(sys.argv[3]))
print(stream.id, flush=True)
for token in stream:
    print(token, end="", flush=True)
"""


class Teller(agentd.Agent):
    def __init__(self):
        self.made = 0

    def tokens(self, n):
        for number in range(n):
            self.made = number
            yield f"token {number};"

    def ping(self):
        return "pong"

    @agentd.readonly
    def so_far(self):
        return self.made


def text(n):
    return "".join(f"token {number};" for number in range(n))


@pytest.mark.parametrize("way", ["direct", "relayed"])
def test_a_reader_killed_in_the_middle_and_another_reads_the_rest(start, way):
    # Given
    daemon = start(client_grace_s=3.0)
    agent = Teller(to_dist={"endpoint": daemon.endpoint, "name": "teller"})
    agentd.handle(agent).wait()
    reader = daemon.run(
        READER, daemon.endpoint, "teller", "1500", way, stdout=subprocess.PIPE, text=True
    )
    stream = reader.stdout.readline().strip()
    # When
    head = reader.stdout.read(len(text(300)) + 4)  # somewhere within an item
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    # Then: others have their turn before long, and the rest can still be read
    began = time.monotonic()
    assert agent.ping.options(timeout=LONG_S)() == "pong"
    measured(f"the turn of a stream whose reader was killed ({way})", time.monotonic() - began)
    assert time.monotonic() - began < 15.0
    assert agent.so_far() < 1499
    offset = head.count(";")
    whole = head[: head.rindex(";") + 1]
    rest = "".join(agentd.handle(agent).stream(stream, offset))
    assert whole + rest == text(1500)


def test_a_worker_killed_in_the_middle_is_no_short_stream(start):
    daemon = start()
    agent = Teller(to_dist={"endpoint": daemon.endpoint})
    stream, found = agent.tokens(100_000), []
    pid = agentd.handle(agent).wait().info()["pid"]

    def read():
        for token in stream:
            found.append(token)
            if len(found) == 500:
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(AgentCrashed) as caught:
        read()
    assert caught.value.signal == "SIGKILL"
    assert "".join(found) == text(len(found))
    assert 500 <= len(found) < 100_000
    wait_until(lambda: list(agent.tokens(3)) == ["token 0;", "token 1;", "token 2;"], "it", LONG_S)
