"""Agents that come and go leave nothing behind; a daemon with nothing to do does nothing."""

import time
from pathlib import Path

import agentd
from tests.faults.harness import ROUNDS, files_of, wait_until
from tests.faults.victims import Victim

CYCLES = 300 * ROUNDS


def resources(pid):
    """Open descriptors, threads, and resident KiB of a process."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return (
        files_of(pid),
        int(status["Threads"]),
        int(status["VmRSS"].split()[0]),
    )


def test_create_call_delete(start):
    daemon = start(workers=1, tombstones=100)

    def cycle():
        agent = Victim(to_dist=daemon.endpoint)
        agent.say(1)
        agent.add()
        agentd.handle(agent).delete()

    def settled():
        worker = daemon.client.info()["workers"][0]["pid"]
        return resources(daemon.process.pid), resources(worker)

    for _ in range(150):  # what is made once and kept
        cycle()
    before = settled()
    for _ in range(CYCLES):
        cycle()
    wait_until(lambda: not daemon.client.agents(), "all agents to go")
    after = settled()

    print(f"{CYCLES} cycles: (fds, threads, KiB) of daemon and worker: {before} -> {after}")
    for was, now in zip(before, after, strict=True):
        assert now[0] <= was[0] + 2
        assert now[1] <= was[1] + 2
        assert now[2] <= was[2] + 3_000 + 1 * CYCLES // 10


def test_crashes(start):
    daemon = start(workers=1, restart_limit=1_000_000, worker_backoff_s=0.001)

    def cycle():
        agent = Victim(to_dist=daemon.endpoint)
        try:
            agent.leave(1)
        except agentd.errors.AgentCrashed:
            pass
        agentd.handle(agent).delete()

    def idle():
        return [w["state"] for w in daemon.client.info()["workers"]] == ["ready"]

    cycle()
    wait_until(idle, "one worker")
    before = resources(daemon.process.pid)
    for _ in range(5 * ROUNDS):
        cycle()
    wait_until(idle, "one worker")

    assert resources(daemon.process.pid)[0] <= before[0] + 1
    assert sorted(p.split(".")[-1] for p in daemon.files() if "/w" in p) == ["run", "sock"]


def test_an_idle_daemon_sleeps(start):
    daemon = start(heartbeat_s=1.0, client_grace_s=15.0)
    workers = daemon.workers_ready()
    time.sleep(0.5)

    def work(pid):
        status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(status.split("voluntary_ctxt_switches:")[1].split()[0]), sum(
            map(int, stat[11:13])
        )

    pids = [daemon.process.pid, *(w["pid"] for w in workers)]
    before = [work(pid) for pid in pids]
    time.sleep(3)
    after = [work(pid) for pid in pids]

    wakes = [b[0] - a[0] for a, b in zip(before, after, strict=True)]
    ticks = [b[1] - a[1] for a, b in zip(before, after, strict=True)]
    print(f"in 3 s: wake-ups of daemon and workers {wakes}, clock ticks {ticks}")
    assert wakes[0] <= 30
    assert max(wakes[1:]) <= 10
    assert sum(ticks) <= 10
