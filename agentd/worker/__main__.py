"""A worker process: ``python -m agentd.worker``, started by a daemon, settings on stdin."""

from __future__ import annotations

import gc
import os
import sys

from agentd.worker import confine, lifeline, settings

DELIVER_MS = 900
"""How long answers may take to leave; a bit less than the daemon waits before it makes us."""
KEPT_PART = 8
"""Of the memory that a worker may use it keeps so small a part for long frames."""


def main() -> None:
    """Serve until the daemon ends this process."""
    # Imported while the daemon gets ready, too: it may have started this process first of all.
    import faulthandler

    from agentd.client.secrets import Sources, install
    from agentd.transport import guard
    from agentd.transport.kept import keep
    from agentd.transport.process import raise_file_limit
    from agentd.worker import host  # noqa: F401 - and so what it needs, for which there is time now
    from agentd.worker.output import capture

    told = settings.read(0)
    confine.leave_powers(told.owner)
    life = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # an agent that reads standard input finds it empty
    os.close(null)
    lifeline.hold(life, told.parent, told.folder, told.sockets)
    confine.confine(told.limits, safe=told.safe)
    os.environ["AGENTD_ENDPOINT"] = told.daemon  # an agent that makes agents makes them here
    kept = told.kept_bytes
    if "memory_bytes" in told.limits:  # most of it is for the agents
        kept = min(kept, told.limits["memory_bytes"] // KEPT_PART)
    os.environ["AGENTD_KEPT_BYTES"] = str(kept)  # it is a client, too
    if told.safe:
        guard.refuse_pickles("this daemon runs in safe mode, in which agents read none either")
    faulthandler.enable(all_threads=False)  # the one at fault: the callers see its last lines
    sys.path[:0] = [folder for folder in told.path if folder not in sys.path]
    capture()
    keep(kept)
    install(Sources(told.secrets, told.secret_values))
    if "files" not in told.limits:
        raise_file_limit()
    _serve(told)


def _serve(told: settings.Settings) -> None:
    import signal

    from agentd.protocol import local_versions, pack
    from agentd.protocol.messages import Enlist
    from agentd.transport.local import adopt
    from agentd.transport.localport import LocalPort
    from agentd.transport.localrouter import LocalRouter
    from agentd.transport.loop import Loop
    from agentd.transport.recorder import Recorder
    from agentd.worker.executor import Executor
    from agentd.worker.host import Host
    from agentd.worker.leading import Leading

    loop = Loop()
    signal.signal(signal.SIGTERM, lambda _number, _frame: loop.call_soon(loop.stop))
    front = LocalRouter(
        adopt(told.listener),
        uids=lambda uid: uid == told.owner,
        most=told.max_message_bytes,
        most_queued=told.max_queued_bytes,
    )
    connection = adopt(told.back)
    told = settings.receive(told, connection)
    back = LocalPort(connection)
    executor = Executor()
    leading = Leading(loop, executor, front)
    record = Recorder(told.recorder)
    host = Host(told, loop, front, back, record, executor, leading.gives_way)
    mine = local_versions()
    enlist = Enlist(told.worker, os.getpid(), told.address, mine.agentd, mine.python, mine.dill)
    visitors = None
    if told.door is not None:
        from agentd.worker.onnetwork import open_door

        visitors, enlist = open_door(loop, host, told, told.door, enlist)

    def count() -> None:
        counted = front.counted().plus(host.questions.counted())
        record.count(counted if visitors is None else counted.plus(visitors.counted()))

    front.on_count = host.questions.on_count = count
    if visitors is not None:
        visitors.on_count = count
    loop.send(back, [b"", *pack(enlist)])
    gc.freeze()  # what was imported stays: the collector need not look at it again
    leading.run()
    if visitors is not None:
        visitors.close(DELIVER_MS)
    front.close(linger_ms=DELIVER_MS)  # answers on their way; leaving waits for them
    back.close(linger_ms=DELIVER_MS)


if __name__ == "__main__":
    main()
