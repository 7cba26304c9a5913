import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.server.output import ENDED, MAX_LINE, LineReader, OutputBook

AGENT = b"\x0a" * 16
TAG = b"\0" + AGENT.hex().encode() + b" "


class Pipe:
    def __init__(self, lines=1000):
        self.echoed = []
        self.agents = {AGENT}
        self.book = OutputBook(lines, lambda *line: self.echoed.append(line), self.agents)
        self.book.open("w1")
        read, self.end = os.pipe()
        os.set_blocking(read, False)
        self.reader = LineReader(read, "w1", "stdout", self.book)

    def write(self, data):
        os.write(self.end, data)
        return self.reader.read()

    def texts(self, source=AGENT):
        return [line["text"] for line in self.book.ring(source).since(0)]

    def close(self):
        for fd in (self.reader.fd, self.end):
            os.close(fd)


@pytest.fixture
def pipe():
    one = Pipe()
    yield one
    one.close()


def test_lines_go_to_whom_they_are_tagged_with(pipe):
    pipe.write(TAG + b"mine\nnobody's\n" + TAG + b"mine too\n")

    assert pipe.texts() == ["mine", "mine too"]
    assert pipe.texts("w1") == ["nobody's"]


def test_an_empty_tagged_line_is_a_line(pipe):
    pipe.write(TAG + b"\n\n" + TAG + b"x\n")

    assert pipe.texts() == ["", "x"]
    assert pipe.texts("w1") == []


def test_a_line_in_pieces_is_one(pipe):
    for byte in TAG + b"in pieces\n":
        pipe.write(bytes([byte]))

    assert pipe.texts() == ["in pieces"]


def test_the_last_line_needs_no_end(pipe):
    pipe.write(TAG + b"last words")
    assert pipe.texts() == []

    pipe.reader.finish()  # although the other end is still open

    assert pipe.texts() == ["last words"]


def test_the_end_of_the_pipe(pipe):
    pipe.write(b"rest")
    os.close(pipe.end)
    pipe.end = os.open(os.devnull, os.O_RDONLY)

    assert pipe.reader.read() is False
    assert pipe.texts("w1") == ["rest"]


def test_nothing_to_read_is_no_end(pipe):
    assert pipe.reader.read() is True


def test_what_somebody_else_goes_on_writing_does_not_hold_up_the_end(pipe, monkeypatch):
    monkeypatch.setattr(os, "read", lambda _fd, most: b"noise\n" * (most // 6))

    pipe.reader.finish()

    assert len(pipe.texts("w1")) == 1000


def test_long_lines_are_cut_into_lines(pipe):
    pipe.write(b"x" * 20_000 + b"\n")
    for _ in range(3):
        pipe.write(b"y" * 20_000)

    assert all(len(text) <= MAX_LINE for text in pipe.texts("w1"))
    assert sum(text.count("x") for text in pipe.texts("w1")) == 20_000
    assert sum(text.count("y") for text in pipe.texts("w1")) == 60_000


@pytest.mark.parametrize(
    "line",
    [
        b"\0",
        b"\0 ",
        b"\0" + b"z" * 32 + b" not hex",
        b"\0" + b"0a" * 15 + b" short",
        b"\0" + b"0a" * 16 + b"no space",
        b"\xff\xfe not utf-8",
        b"with \0 in it",
    ],
)
def test_odd_lines_are_the_workers_own(pipe, line):
    pipe.write(line + b"\n")

    assert pipe.texts("w1") == [line.decode("utf-8", "replace")]


def test_bytes_that_are_no_utf8_are_shown_as_such(pipe):
    pipe.write(TAG + b"caf\xe9\n")

    assert pipe.texts() == ["caf\N{REPLACEMENT CHARACTER}"]


def test_lines_of_a_source_that_is_not_known_are_shown_but_not_kept(pipe):
    pipe.agents.remove(AGENT)
    pipe.book.retire(AGENT)

    pipe.write(TAG + b"from a thread that goes on\n")

    assert pipe.texts() == []
    assert pipe.echoed == [(AGENT, "stdout", "from a thread that goes on")]


@given(st.lists(st.binary(max_size=60).filter(lambda b: b"\n" not in b and b), max_size=20),
       st.integers(1, 40))  # fmt: skip
def test_pieces_of_any_length_make_the_same_lines(lines, size):
    one, other = Pipe(), Pipe()
    try:
        data = b"".join(line + b"\n" for line in lines)
        for at in range(0, len(data), size):
            one.write(data[at : at + size])
        other.write(data or b"\n")
        assert one.echoed == other.echoed
    finally:
        one.close()
        other.close()


def test_a_ring_keeps_the_last_lines_with_their_numbers():
    book = OutputBook(3, None, {AGENT})
    for number in range(10):
        book.add(AGENT, "stderr" if number % 2 else "stdout", str(number))
    ring = book.ring(AGENT)

    assert [line["seq"] for line in ring.since(0)] == [7, 8, 9]
    assert [line["seq"] for line in ring.since(9)] == [9]
    assert ring.next == 10
    assert ring.tail(5) == "7\n9"
    assert ring.tail(1) == "9"


def test_the_lines_of_the_last_that_ended_are_kept():
    agents = [bytes([number]) for number in range(ENDED + 5)]
    book = OutputBook(3, None, agents)
    for agent in agents:
        book.add(agent, "stdout", "bye")
        book.retire(agent)

    kept = [n for n, agent in enumerate(agents) if book.ring(agent).next]
    assert kept == list(range(5, ENDED + 5))


def test_asking_for_lines_makes_no_ring():
    book = OutputBook(3, None, {AGENT})

    book.ring(AGENT).add("stdout", "lost")

    assert book.ring(AGENT).next == 0
