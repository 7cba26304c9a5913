"""What an embedded daemon brings to its client's terminal."""

import logging
import os
import queue

from agentd.server.embedded import _Echo, _OneLine

EVIL = "".join(map(chr, (*range(0x20), 0x7F, *range(0x80, 0xA0)))) + "\u202e\u2066\u200b"


def test_warnings_are_one_line_without_controls():
    record = logging.makeLogRecord({"msg": EVIL, "cls": EVIL, "agent_name": EVIL})
    assert _OneLine().format(record).isprintable()


def test_what_agents_print_keeps_its_tabs_and_nothing_else(monkeypatch):
    written = queue.Queue()
    monkeypatch.setattr(os, "write", lambda fd, data: written.put((fd, data)))
    _Echo()(EVIL, "stdout", f"{EVIL}text")
    fd, data = written.get(timeout=20)
    line = data.decode()
    assert fd == 2
    assert line.endswith("text\n")
    assert line[:-1].replace("\t", "").isprintable()
