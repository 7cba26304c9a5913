"""Who is disconnected for what he sends and does not finish."""

from agentd.transport.connections import Connection
from agentd.transport.unfinished import Unfinished


class Book:
    """Connections whose bytes are what a test says."""

    def __init__(self, *sizes):
        self.all = [Connection(fd, 0) for fd in range(len(sizes))]
        self.sizes = dict(zip(range(len(sizes)), sizes, strict=True))
        self.ended = []

    def __iter__(self):
        return iter([c for c in self.all if c.fd not in self.ended])

    def look(self, connection):
        connection.unfinished = self.sizes[connection.fd]

    def who(self, connection):
        return str(connection.fd)

    def end(self, connection):
        self.ended.append(connection.fd)
        return True


def test_who_is_within_the_limits_stays():
    book = Book(0, 800, 900)
    assert not Unfinished(book, 800, 2000).look()
    assert book.ended == []


def test_who_sent_more_than_a_message_may_have_goes():
    book = Book(0, 901, 900, 5000)
    watched = Unfinished(book, 800, 2000)
    assert watched.look()
    assert book.ended == [1, 3]
    assert watched.disconnected == 2


def test_where_it_is_too_much_together_those_go_who_sent_most():
    book = Book(500, 800, 100, 700)
    Unfinished(book, 800, 1300).look()
    assert book.ended == [1]
    book = Book(500, 800, 100, 700)
    Unfinished(book, 800, 599).look()
    assert book.ended == [1, 3, 0]
