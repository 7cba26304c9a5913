"""Work that may wait for a peer."""

import threading

from agentd.client.aside import Aside

LONG_S = 30.0


def test_one_peer_gets_one_thread_and_keeps_the_order():
    aside, done, ran = Aside(), threading.Event(), []

    def note(number):
        ran.append((number, threading.get_ident()))

    first = threading.Event()
    aside.do("peer", lambda: first.wait(LONG_S))
    for number in range(50):
        aside.do("peer", lambda number=number: note(number))
    aside.do("peer", done.set)
    assert aside.busy("peer")
    assert ran == []
    first.set()
    assert done.wait(LONG_S)
    assert [number for number, _thread in ran] == list(range(50))
    assert len({thread for _number, thread in ran} | {threading.get_ident()}) == 2


def test_peers_do_not_hold_each_other_up():
    aside, never, done = Aside(), threading.Event(), threading.Event()
    aside.do("stuck", lambda: never.wait(LONG_S))
    aside.do("well", done.set)
    assert done.wait(LONG_S / 2)
    assert not aside.busy("other")
    never.set()


def test_a_step_that_fails_keeps_no_later_one_from_its_turn(caplog):
    aside, done = Aside(), threading.Event()
    go = threading.Event()
    aside.do("peer", lambda: go.wait(LONG_S) and 1 / 0)
    aside.do("peer", done.set)
    go.set()
    assert done.wait(LONG_S)
    assert "ZeroDivisionError" in caplog.text


def test_without_threads_to_be_had_it_is_done_here(monkeypatch):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    aside, ran = Aside(), []
    aside.do("peer", lambda: ran.append(threading.get_ident()))
    assert ran == [threading.get_ident()]
    assert not aside.busy("peer")
