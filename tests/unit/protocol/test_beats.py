"""One ping of each connection in each half heartbeat is due."""

from agentd.protocol import Beats


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_one_of_each_connection_in_each_half_heartbeat():
    clock = Clock()
    beats = Beats(2.0, clock)
    for _ in range(5):
        assert all(beats.is_due(connection) for connection in range(5_000))
        assert not any(beats.is_due(connection) for connection in range(5_000))
        clock.now += 0.5
        assert not beats.is_due(0)
        clock.now += 0.5


def test_what_is_known_of_connections_is_forgotten_with_the_beat():
    clock = Clock()
    beats = Beats(2.0, clock)
    for connection in range(1_000):
        beats.is_due(connection)
    clock.now += 1.0
    beats.is_due("the only one left")
    assert len(beats._came) == 1
