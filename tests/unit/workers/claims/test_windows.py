from datetime import timedelta
from uuid import uuid4

from workers.claims.windows import ENOUGH, FIRST_WINDOW, KEPT, Pool, Room, Windows


def new() -> str:
    """The id of a webhook."""
    return str(uuid4())


QUICK, SLOW = timedelta(milliseconds=5), timedelta(seconds=20)


def send(windows: Windows, webhook: str, times: int = 1, *, now: float = 0.0) -> None:
    for _ in range(times):
        windows.sent(webhook, now)


def answer(
    windows: Windows, webhook: str, times: int = 1, *, failed: bool = False, after: timedelta = QUICK, now: float = 0.0
) -> None:
    for _ in range(times):
        windows.sent(webhook, now)
        windows.ended(webhook, failed=failed, duration=after, now=now)


def test_a_webhook_begins_with_the_first_window() -> None:
    windows, webhook = Windows(64), new()
    assert windows.room(webhook, 0) == FIRST_WINDOW
    send(windows, webhook)
    assert windows.room(webhook, 0) == FIRST_WINDOW - 1
    assert windows.rooms(0).known == [Room(webhook, FIRST_WINDOW - 1, Pool.NEW)]


def test_quick_answers_double_the_window_up_to_all_slots() -> None:
    windows, webhook = Windows(64), new()
    answer(windows, webhook, 1 + FIRST_WINDOW)
    assert windows.room(webhook, 0) == 2 * FIRST_WINDOW
    answer(windows, webhook, 1_000)
    assert windows.room(webhook, 0) == 64


def test_slow_answers_do_not_grow_it() -> None:
    windows, webhook = Windows(64), new()
    answer(windows, webhook, 100, after=SLOW)
    assert windows.room(webhook, 0) == FIRST_WINDOW


def test_while_others_are_served_one_greedy_webhook_has_half_of_the_slots_and_two_have_a_third_each() -> None:
    windows, one, other = Windows(60), new(), new()
    for webhook in (one, other):
        answer(windows, webhook, 1_000)
    assert windows.room(one, 10) == 60
    answer(windows, other)
    assert windows.room(one, 0) == 30  # in one claim, too
    while windows.room(one, 0):
        send(windows, one)
    assert windows.in_flight == 30
    answer(windows, other, 1_000)
    while windows.room(other, 0):
        send(windows, other)
    assert windows.in_flight == 45  # what is free bounds each
    assert windows.room(new(), 0) == FIRST_WINDOW


def test_a_webhook_that_stops_answering_gets_nothing_more_while_others_are_served() -> None:
    windows, webhook = Windows(64), new()
    answer(windows, webhook, 1_000)
    send(windows, new(), now=10.0)
    send(windows, webhook, 3, now=10.0)
    assert windows.room(webhook, 10.9) > 0
    assert windows.room(webhook, 11.1) == 0
    windows.ended(webhook, failed=False, duration=QUICK, now=11.2)
    assert windows.room(webhook, 11.3) > 0
    assert windows.room(webhook, 99.0) > 0  # alone again


def test_a_failure_leaves_a_window_of_one_and_a_success_opens_it_again() -> None:
    windows, webhook = Windows(64), new()
    answer(windows, webhook, 1_000)
    answer(windows, webhook, failed=True)
    assert windows.room(webhook, 0) == 1
    answer(windows, webhook)
    assert windows.room(webhook, 0) == FIRST_WINDOW


def test_webhooks_that_fail_have_half_of_the_slots_together() -> None:
    windows = Windows(8)
    failing = [new() for _ in range(20)]
    for webhook in failing:
        answer(windows, webhook, failed=True)
    taken = 0
    for webhook in failing:
        if windows.room(webhook, 0):
            send(windows, webhook)
            taken += 1
    assert taken == 4
    assert windows.pool_room(Pool.FAILING) == 0
    windows.ended(failing[0], failed=False, duration=QUICK, now=0)
    assert sum(windows.room(webhook, 0) > 0 for webhook in failing[4:]) == 16


def test_however_many_untried_webhooks_hang_a_quarter_of_the_slots_is_left_to_those_that_answer() -> None:
    windows, healthy = Windows(64), new()
    answer(windows, healthy)
    for _ in range(1_000):
        untried = new()
        if windows.room(untried, 0):
            send(windows, untried)
    assert windows.in_flight == 48
    assert windows.rooms(0).pools == {Pool.PROVEN: 16, Pool.NEW: 0, Pool.FAILING: 0}
    assert windows.room(healthy, 0) == FIRST_WINDOW


def test_while_many_untried_webhooks_are_in_flight_the_next_ones_begin_with_one_request() -> None:
    windows = Windows(800)
    assert windows.rooms(0).first == FIRST_WINDOW
    for _ in range(25):
        send(windows, new(), FIRST_WINDOW)
    assert windows.rooms(0).first == 1
    assert windows.room(new(), 0) == 1


def test_counts_stay_right_when_a_webhook_turns_failing_with_requests_in_flight() -> None:
    windows, webhook, other = Windows(8), new(), new()
    send(windows, webhook, 4)
    windows.ended(webhook, failed=True, duration=SLOW, now=0)  # three of its requests are still in flight
    answer(windows, other, failed=True)
    assert windows.room(other, 0) == 1
    send(windows, other)
    third = new()
    answer(windows, third, failed=True)
    assert windows.room(third, 0) == 0
    assert windows.in_flight == 4


def test_webhooks_not_used_for_long_are_forgotten_but_not_what_is_in_flight() -> None:
    windows, hanging = Windows(64), new()
    send(windows, hanging)
    for _ in range(2 * KEPT):
        answer(windows, new())
    known = windows.rooms(0).known
    assert len(known) <= KEPT + 2
    assert hanging in {room.webhook_id for room in known}
    windows.ended(hanging, failed=False, duration=SLOW, now=0)
    assert windows.in_flight == 0


def test_windows_do_not_grow_while_answers_wait_for_the_loop() -> None:
    windows, webhook = Windows(10 * ENOUGH), new()
    answer(windows, webhook, 10_000, after=timedelta(seconds=0.1))
    own, late = timedelta(seconds=0.15), timedelta(seconds=0.4)
    other = new()
    answer(windows, other, after=own)
    send(windows, webhook, ENOUGH, now=10.0)
    windows.seen(ENOUGH // 2 - 1, 10.0)
    answer(windows, other, FIRST_WINDOW, after=late, now=14.9)
    assert windows.room(other, 20.0) == 2 * FIRST_WINDOW  # fewer than half of them ended at once
    windows.seen(ENOUGH // 2, 10.0)
    answer(windows, other, 100, after=late, now=14.9)
    assert windows.room(other, 20.0) == 2 * FIRST_WINDOW
    for _ in range(ENOUGH):
        windows.ended(webhook, failed=False, duration=own, now=14.9)
    answer(windows, other, 2 * FIRST_WINDOW, after=own, now=14.9)  # its own time, not the loop's
    assert windows.room(other, 20.0) == 4 * FIRST_WINDOW
    answer(windows, other, 4 * FIRST_WINDOW, after=late, now=15.1)
    assert windows.room(other, 20.0) == 8 * FIRST_WINDOW
