"""What concurrency limits and account shares achieve in a simulated installation. docs/architecture.md shows the
figures."""

import pytest

from tests.unit.workers.claims.simulation import Installation, Webhook, answering, answering_few, hanging

CURL, REQUESTS = 1_500, 64  # default slots of the two transports
ENDLESS = 50_000
QUICK = 0.01  # seconds that a quick receiver takes


def steady(
    receivers: int, per_second: float, seconds: float, *, start: float = 0.0, account_no: int = 1
) -> list[Webhook]:
    """Quick webhooks that get events in turn at a steady rate."""
    times = [start + n / per_second for n in range(int(seconds * per_second))]
    return [Webhook(answering(QUICK), account_no, events=times[n::receivers]) for n in range(receivers)]


def slow(receivers: int, *, account_no: int = 1, backlog: int = ENDLESS) -> list[Webhook]:
    return [Webhook(answering(3), account_no, backlog) for _ in range(receivers)]


def rate(webhooks: list[Webhook], start: float, end: float) -> float:
    return sum(webhook.rate(start, end) for webhook in webhooks)


def p99(webhooks: list[Webhook]) -> float:
    waited = sorted(wait for webhook in webhooks for wait in webhook.waited)
    assert len(waited) == sum(len(webhook.events) for webhook in webhooks)
    return waited[int(len(waited) * 0.99)]


def last_answer(webhooks: list[Webhook]) -> float:
    assert not any(webhook.due or webhook.in_flight for webhook in webhooks)
    return max(webhook.answered[-1] for webhook in webhooks)


@pytest.mark.parametrize(("slots", "most"), [(CURL, 750), (REQUESTS, 32)])
def test_a_slow_receiver_alone_gets_half_of_the_slots_within_half_a_minute(slots: int, most: int) -> None:
    (receiver,) = webhooks = slow(1)
    installation = Installation(webhooks, slots=slots)
    installation.run(until=36)
    assert receiver.rate(30, 36) == pytest.approx(most / 3, rel=0.2)
    assert receiver.most == most


def test_slow_receivers_cost_steady_quick_ones_nothing() -> None:
    alone = steady(20, 100, 10)
    Installation(alone, slots=CURL).run(until=11)
    beside, others = steady(20, 100, 10), slow(100)
    Installation([*others, *beside], slots=CURL).run(until=11)
    assert p99(beside) <= 1.3 * p99(alone)
    assert rate(others, 5, 10) > 130


def test_quick_ones_that_have_answered_do_not_wait_for_slow_ones_where_slots_are_few() -> None:
    beside = steady(20, 100, 12)
    others = [Webhook(answering(3), events=[2.0] * 20) for _ in range(100)]
    Installation([*others, *beside], slots=REQUESTS).run(until=13)
    assert p99(beside) <= 0.02
    assert rate(others, 6, 12) > 9


def test_a_slow_receiver_has_no_more_than_half_of_what_others_leave_soon_after_they_come() -> None:
    for slots in (CURL, REQUESTS):
        (receiver,), others = slow(1), steady(20, 50, 6, start=33)
        installation = Installation([receiver, *others], slots=slots)
        installation.run(until=33)
        assert receiver.in_flight == slots // 2
        installation.run(until=39.5)
        assert receiver.in_flight <= (slots // 2 + slots // 8 + 1) // 2
        assert p99(others) <= 0.02


def test_slow_receivers_that_begin_to_hang_cost_quick_ones_nothing() -> None:
    hang_later = [Webhook(hanging(since=10, before=3), backlog=ENDLESS) for _ in range(5)]
    beside = steady(20, 50, 16)
    Installation([*hang_later, *beside], slots=REQUESTS).run(until=17)
    assert p99(beside) <= 0.02


def test_a_tenth_that_hangs_from_the_start_costs_the_healthy_ones_nothing() -> None:
    def healthy(hanging_ones: int) -> list[Webhook]:
        webhooks = [Webhook(answering(QUICK), backlog=400) for _ in range(45)]
        dead = [Webhook(hanging(), backlog=400) for _ in range(hanging_ones)]
        Installation([*dead, *webhooks], slots=CURL).run(until=4)
        return webhooks

    assert last_answer(healthy(5)) <= 1.1 * last_answer(healthy(0))


def test_a_receiver_that_handles_few_at_once_gets_a_few_times_that_and_never_fails() -> None:
    few = Webhook(answering_few(3, at_once=20), backlog=ENDLESS)
    Installation([few], slots=CURL).run(until=120)
    assert few.most <= 64
    assert few.rate(60, 120) > 0.7 * 20 / 3


@pytest.mark.parametrize("slots", [400, REQUESTS])
@pytest.mark.parametrize("later", [0.0, 6.0])
def test_an_event_is_sent_at_once_however_many_webhooks_of_another_account_hang(slots: int, later: float) -> None:
    dead = [Webhook(hanging(), 1, backlog=1) for _ in range(2 * slots)]
    other = Webhook(answering(QUICK), 2, events=[later])
    Installation([*dead, other], slots=slots).run(until=later + 0.1)
    assert other.waited == [0]


def test_the_first_event_of_an_account_is_sent_at_once_beside_proven_webhooks_of_another_that_hold_their_slots() -> (
    None
):
    busy = [Webhook(hanging(since=3, before=0.3), 1, backlog=ENDLESS) for _ in range(20)]
    other = Webhook(answering(QUICK), 2, events=[8.0])
    installation = Installation([*busy, other], slots=REQUESTS)
    installation.run(until=7.9)
    installation.run(until=8.1)
    assert other.waited == [0]


def test_hundreds_of_accounts_fill_all_slots_equally() -> None:
    accounts = [Webhook(answering(0.5), account_no, backlog=100) for account_no in range(1, 201)]
    installation = Installation(accounts, slots=512)
    installation.run(until=8)
    assert installation.in_flight == 512
    served = [webhook.rate(0, 8) for webhook in accounts]
    assert max(served) <= 2.5 * min(served)


def test_an_account_alone_is_as_fast_as_all_slots_but_the_reserve_allow() -> None:
    def served(slots: int) -> float:
        webhooks = [Webhook(answering(0.1), backlog=5_000) for _ in range(20)]
        Installation(webhooks, slots=slots).run(until=4)
        return rate(webhooks, 2, 4)

    assert served(REQUESTS) == pytest.approx(served(REQUESTS * 8 // 7) * 7 / 8, rel=0.1)
