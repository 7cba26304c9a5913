"""A worker process: ``python -m agentd.worker``, started by a daemon, settings on stdin."""

from __future__ import annotations

import gc
import os
import sys

from agentd.worker import confine, lifeline, settings

DELIVER_MS = 900
"""How long answers may take to leave; a bit less than the daemon waits before it makes us."""


def main() -> None:
    """Serve until the daemon ends this process."""
    # Imported while the daemon gets ready, too: it may have started this process first of all.
    import faulthandler
    import signal

    from agentd.client.secrets import Sources, install
    from agentd.protocol import local_versions, pack
    from agentd.protocol.messages import Enlist
    from agentd.transport import guard
    from agentd.transport.local import LocalPort, LocalRouter, adopt
    from agentd.transport.loop import Loop
    from agentd.transport.process import raise_file_limit
    from agentd.transport.recorder import Recorder
    from agentd.worker.host import Host
    from agentd.worker.output import capture

    told = settings.read(0)
    life = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # an agent that reads standard input finds it empty
    os.close(null)
    lifeline.hold(life, told.parent, told.folder, told.sockets)
    confine.confine(told.limits, safe=told.safe)
    os.environ["AGENTD_ENDPOINT"] = told.daemon  # an agent that makes agents makes them here
    if told.safe:
        guard.refuse_pickles("this daemon runs in safe mode, in which agents read none either")
    faulthandler.enable(all_threads=False)  # the one at fault: the callers see its last lines
    sys.path[:0] = [folder for folder in told.path if folder not in sys.path]
    capture()
    install(Sources(told.secrets, told.secret_values))
    if "files" not in told.limits:
        raise_file_limit()
    loop = Loop()
    loop.on_signal(signal.SIGTERM, loop.stop)
    front = LocalRouter(
        adopt(told.listener), most=told.max_message_bytes, most_queued=told.max_queued_bytes
    )
    back = LocalPort(adopt(told.back))
    Host(told, loop, front, back, Recorder(told.recorder))
    mine = local_versions()
    enlist = Enlist(told.worker, os.getpid(), told.address, mine.agentd, mine.python, mine.dill)
    loop.send(back, [b"", *pack(enlist)])
    gc.freeze()  # what was imported stays: the collector need not look at it again
    loop.run()
    front.close(linger_ms=DELIVER_MS)  # answers on their way; leaving waits for them
    back.close(linger_ms=DELIVER_MS)


if __name__ == "__main__":
    main()
