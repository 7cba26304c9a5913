import threading

from hypothesis import given
from hypothesis import strategies as st

from agentd.transport import recorder
from agentd.transport.counted import Counted
from agentd.transport.recorder import SLOTS, Recorder, counted, create, running

A, B = b"a" * 16, b"b" * 16


def test_who_runs_is_on_record(tmp_path):
    path = str(tmp_path / "r")
    book = Recorder(create(path))
    assert running(path) == set()
    first = book.enter(A)
    second = book.enter(B)
    third = book.enter(A)
    assert running(path) == {A, B}

    book.leave(first)
    assert running(path) == {A, B}
    book.leave(third)
    book.leave(second)
    assert running(path) == set()


def test_more_than_it_holds_go_unrecorded(tmp_path):
    path = str(tmp_path / "r")
    book = Recorder(create(path))
    slots = [book.enter(A) for _ in range(SLOTS)]

    extra = book.enter(B)
    assert extra == -1
    book.leave(extra)
    assert running(path) == {A}

    book.leave(slots[0])
    assert book.enter(B) == slots[0]
    assert running(path) == {A, B}


def test_no_record_is_nobody(tmp_path):
    assert running(str(tmp_path / "none")) == set()


def test_the_file_is_private(tmp_path):
    Recorder(create(str(tmp_path / "r")))
    assert (tmp_path / "r").stat().st_mode & 0o077 == 0


def test_from_many_threads(tmp_path):
    book = Recorder(create(str(tmp_path / "r")))

    def run(agent):
        for _ in range(500):
            book.leave(book.enter(agent))

    threads = [threading.Thread(target=run, args=(bytes([n]) * 16,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert running(str(tmp_path / "r")) == set()


def test_what_is_counted_outlives_the_worker(tmp_path):
    path = str(tmp_path / "r")
    book = Recorder(create(path))
    assert counted(path) == Counted()
    told = Counted(*range(1, 1 + len(Counted._fields)))
    book.enter(A)
    book.count(told)
    assert counted(path) == told
    assert running(path) == {A}, "neither touches the other"
    for _ in range(SLOTS):
        book.enter(B)
    assert counted(path) == told


def test_what_a_worker_says_of_itself_is_bounded(tmp_path):
    path = str(tmp_path / "r")
    Recorder(create(path)).count(Counted(*[2**64 - 1] * len(Counted._fields)))
    assert set(counted(path)) == {recorder.MOST}
    assert counted(str(tmp_path / "none")) == Counted()


@given(data=st.binary(max_size=200))
def test_a_torn_record_is_read(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("r") / "r"
    path.write_bytes(data)

    assert isinstance(recorder.running(str(path)), set)
    assert counted(str(path)) == Counted()
