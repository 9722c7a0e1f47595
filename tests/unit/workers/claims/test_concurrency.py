from datetime import timedelta
from uuid import uuid4

from workers.claims.concurrency import ENOUGH, FIRST_LIMIT, KEPT, ConcurrencyClass, ConcurrencyLimits, Room


def new() -> str:
    """The id of a webhook."""
    return str(uuid4())


def room(limits: ConcurrencyLimits, webhook: str, now: float) -> int:
    """How many requests a claim may make of this webhook's deliveries."""
    rooms = limits.rooms(now)
    known = {each.webhook_id: each.free for each in rooms.known}
    return known.get(webhook, min(rooms.first, rooms.classes[ConcurrencyClass.NEW]))


QUICK, SLOW = timedelta(milliseconds=5), timedelta(seconds=20)


def send(limits: ConcurrencyLimits, webhook: str, times: int = 1, *, now: float = 0.0) -> None:
    for _ in range(times):
        limits.sent(webhook, now)


def answer(
    limits: ConcurrencyLimits,
    webhook: str,
    times: int = 1,
    *,
    failed: bool = False,
    after: timedelta = QUICK,
    now: float = 0.0,
) -> None:
    for _ in range(times):
        limits.sent(webhook, now)
        limits.ended(webhook, failed=failed, duration=after, now=now)


def test_a_webhook_begins_with_the_first_limit() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    assert room(limits, webhook, 0) == FIRST_LIMIT
    send(limits, webhook)
    assert room(limits, webhook, 0) == FIRST_LIMIT - 1
    assert limits.rooms(0).known == [Room(webhook, FIRST_LIMIT - 1, ConcurrencyClass.NEW)]


def test_quick_answers_double_the_window_up_to_all_slots() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook, 1 + FIRST_LIMIT)
    assert room(limits, webhook, 0) == 2 * FIRST_LIMIT
    answer(limits, webhook, 1_000)
    assert room(limits, webhook, 0) == 64


def test_slow_answers_do_not_grow_it() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook, 100, after=SLOW)
    assert room(limits, webhook, 0) == FIRST_LIMIT


def test_while_others_are_served_one_greedy_webhook_has_half_of_the_slots_and_two_have_a_third_each() -> None:
    limits, one, other = ConcurrencyLimits(60), new(), new()
    for webhook in (one, other):
        answer(limits, webhook, 1_000)
    assert room(limits, one, 10) == 60
    answer(limits, other)
    assert room(limits, one, 0) == 30  # in one claim, too
    while room(limits, one, 0):
        send(limits, one)
    assert limits.in_flight == 30
    answer(limits, other, 1_000)
    while room(limits, other, 0):
        send(limits, other)
    assert limits.in_flight == 45  # what is free bounds each
    assert room(limits, new(), 0) == FIRST_LIMIT


def test_a_webhook_that_stops_answering_gets_nothing_more_while_others_are_served() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook, 1_000)
    send(limits, new(), now=10.0)
    send(limits, webhook, 3, now=10.0)
    assert room(limits, webhook, 10.9) > 0
    assert room(limits, webhook, 11.1) == 0
    limits.ended(webhook, failed=False, duration=QUICK, now=11.2)
    assert room(limits, webhook, 11.3) > 0
    assert room(limits, webhook, 99.0) > 0  # alone again


def test_a_failure_leaves_a_window_of_one_and_a_success_opens_it_again() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook, 1_000)
    answer(limits, webhook, failed=True)
    assert room(limits, webhook, 0) == 1
    answer(limits, webhook)
    assert room(limits, webhook, 0) == FIRST_LIMIT


def test_webhooks_that_fail_have_half_of_the_slots_together() -> None:
    limits = ConcurrencyLimits(8)
    failing = [new() for _ in range(20)]
    for webhook in failing:
        answer(limits, webhook, failed=True)
    taken = 0
    for webhook in failing:
        if room(limits, webhook, 0):
            send(limits, webhook)
            taken += 1
    assert taken == 4
    assert limits.class_room(ConcurrencyClass.FAILING) == 0
    limits.ended(failing[0], failed=False, duration=QUICK, now=0)
    assert sum(room(limits, webhook, 0) > 0 for webhook in failing[4:]) == 16


def test_however_many_untried_webhooks_hang_a_quarter_of_the_slots_is_left_to_those_that_answer() -> None:
    limits, healthy = ConcurrencyLimits(64), new()
    answer(limits, healthy)
    for _ in range(1_000):
        untried = new()
        if room(limits, untried, 0):
            send(limits, untried)
    assert limits.in_flight == 48
    assert limits.rooms(0).classes == {
        ConcurrencyClass.PROVEN: 16,
        ConcurrencyClass.NEW: 0,
        ConcurrencyClass.FAILING: 0,
    }
    assert room(limits, healthy, 0) == FIRST_LIMIT


def test_while_many_untried_webhooks_are_in_flight_the_next_ones_begin_with_one_request() -> None:
    limits = ConcurrencyLimits(800)
    assert limits.rooms(0).first == FIRST_LIMIT
    for _ in range(25):
        send(limits, new(), FIRST_LIMIT)
    assert limits.rooms(0).first == 1
    assert room(limits, new(), 0) == 1


def test_counts_stay_right_when_a_webhook_turns_failing_with_requests_in_flight() -> None:
    limits, webhook, other = ConcurrencyLimits(8), new(), new()
    send(limits, webhook, 4)
    limits.ended(webhook, failed=True, duration=SLOW, now=0)  # three of its requests are still in flight
    answer(limits, other, failed=True)
    assert room(limits, other, 0) == 1
    send(limits, other)
    third = new()
    answer(limits, third, failed=True)
    assert room(limits, third, 0) == 0
    assert limits.in_flight == 4


def test_webhooks_not_used_for_long_are_forgotten_but_not_what_is_in_flight() -> None:
    limits, hanging = ConcurrencyLimits(64), new()
    send(limits, hanging)
    for _ in range(2 * KEPT):
        answer(limits, new())
    known = limits.rooms(0).known
    assert len(known) <= KEPT + 2
    assert hanging in {room.webhook_id for room in known}
    limits.ended(hanging, failed=False, duration=SLOW, now=0)
    assert limits.in_flight == 0


def test_windows_do_not_grow_while_answers_wait_for_the_loop() -> None:
    limits, webhook = ConcurrencyLimits(10 * ENOUGH), new()
    answer(limits, webhook, 10_000, after=timedelta(seconds=0.1))
    own, late = timedelta(seconds=0.15), timedelta(seconds=0.4)
    other = new()
    answer(limits, other, after=own)
    send(limits, webhook, ENOUGH, now=10.0)
    limits.seen(ENOUGH // 2 - 1, 10.0)
    answer(limits, other, FIRST_LIMIT, after=late, now=14.9)
    assert room(limits, other, 20.0) == 2 * FIRST_LIMIT  # fewer than half of them ended at once
    limits.seen(ENOUGH // 2, 10.0)
    answer(limits, other, 100, after=late, now=14.9)
    assert room(limits, other, 20.0) == 2 * FIRST_LIMIT
    for _ in range(ENOUGH):
        limits.ended(webhook, failed=False, duration=own, now=14.9)
    answer(limits, other, 2 * FIRST_LIMIT, after=own, now=14.9)  # its own time, not the loop's
    assert room(limits, other, 20.0) == 4 * FIRST_LIMIT
    answer(limits, other, 4 * FIRST_LIMIT, after=late, now=15.1)
    assert room(limits, other, 20.0) == 8 * FIRST_LIMIT
