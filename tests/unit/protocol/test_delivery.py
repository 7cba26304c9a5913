"""What waits for a client that does not read."""

from agentd.protocol.delivery import MARK_BYTES, Delivery


def test_a_mark_follows_what_is_much_and_its_answer_clears_what_was_before():
    delivery = Delivery(10 * MARK_BYTES)
    assert delivery.sent("c", 10) == 0
    mark = delivery.sent("c", MARK_BYTES)
    assert mark
    assert delivery.sent("c", MARK_BYTES) == 0  # one is on its way
    before = delivery.waiting("c")
    delivery.shown("c", mark)
    assert MARK_BYTES < delivery.waiting("c") < before - MARK_BYTES
    assert delivery.sent("c", 0)  # what came after the first


def test_who_answers_no_mark_falls_behind_others_do_not():
    delivery = Delivery(10 * MARK_BYTES)
    for _ in range(200):
        for client in "ab":
            mark = delivery.sent(client, MARK_BYTES)
            if client == "a" and mark:
                delivery.shown("a", mark)
    assert delivery.is_behind("b")
    assert not delivery.is_behind("a")
    assert delivery.total() > 200 * MARK_BYTES


def test_one_message_more_than_the_limit_is_let_through():
    delivery = Delivery(MARK_BYTES)
    delivery.sent("c", 100 * MARK_BYTES)
    assert delivery.is_behind("c")  # the next one would find it so; this one went
    delivery.forget("c")
    assert not delivery.is_behind("c")
    assert delivery.total() == 0


def test_a_made_up_answer_shows_nothing():
    delivery = Delivery(MARK_BYTES)
    delivery.sent("c", 10)
    delivery.shown("c", 0)
    delivery.shown("nobody", 1)
    mark = delivery.sent("c", 2 * MARK_BYTES)
    delivery.shown("c", mark + 1)
    assert delivery.waiting("c") > 2 * MARK_BYTES
