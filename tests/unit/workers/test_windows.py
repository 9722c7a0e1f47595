from datetime import timedelta
from uuid import UUID, uuid4

from workers.windows import FIRST_WINDOW, Room, Windows

QUICK, SLOW = timedelta(milliseconds=5), timedelta(seconds=20)


def answer(windows: Windows, webhook: UUID, times: int, *, failed: bool = False, after: timedelta = QUICK) -> None:
    for _ in range(times):
        windows.sent(webhook)
        windows.ended(webhook, failed=failed, duration=after)


def test_a_webhook_begins_with_the_first_window() -> None:
    windows, webhook = Windows(64), uuid4()
    assert windows.room(webhook) == FIRST_WINDOW
    windows.sent(webhook)
    assert windows.room(webhook) == FIRST_WINDOW - 1
    assert windows.rooms() == [Room(webhook, FIRST_WINDOW - 1, failing=False)]


def test_quick_answers_double_the_window_up_to_all_slots() -> None:
    windows, webhook = Windows(64), uuid4()
    answer(windows, webhook, FIRST_WINDOW)
    assert windows.room(webhook) == 2 * FIRST_WINDOW
    answer(windows, webhook, 1_000)
    assert windows.room(webhook) == 64


def test_slow_answers_do_not_grow_it() -> None:
    windows, webhook = Windows(64), uuid4()
    answer(windows, webhook, 100, after=SLOW)
    assert windows.room(webhook) == FIRST_WINDOW


def test_while_others_are_due_one_webhook_has_half_of_the_slots() -> None:
    windows, webhook = Windows(64), uuid4()
    answer(windows, webhook, 1_000)
    windows.others_due = True
    assert windows.room(webhook) == 32


def test_a_failure_leaves_a_window_of_one_and_a_success_opens_it_again() -> None:
    windows, webhook = Windows(64), uuid4()
    answer(windows, webhook, 1_000)
    answer(windows, webhook, 1, failed=True)
    assert windows.room(webhook) == 1
    answer(windows, webhook, 1)
    assert windows.room(webhook) == FIRST_WINDOW


def test_webhooks_that_fail_have_half_of_the_slots_together() -> None:
    windows = Windows(8)
    failing = [uuid4() for _ in range(20)]
    for webhook in failing:
        answer(windows, webhook, 1, failed=True)
    taken = 0
    for webhook in failing:
        if windows.room(webhook):
            windows.sent(webhook)
            taken += 1
    assert taken == 4
    assert windows.room(uuid4()) == FIRST_WINDOW
    windows.ended(failing[0], failed=False, duration=QUICK)
    assert sum(windows.room(webhook) > 0 for webhook in failing[4:]) == 16


def test_counts_stay_right_when_a_webhook_turns_failing_with_requests_in_flight() -> None:
    windows, webhook, other = Windows(8), uuid4(), uuid4()
    for _ in range(4):
        windows.sent(webhook)
    windows.ended(webhook, failed=True, duration=SLOW)  # three of its requests are still in flight
    answer(windows, other, 1, failed=True)
    assert windows.room(other) == 1
    windows.sent(other)
    assert windows.room(uuid4()) == FIRST_WINDOW
    third = uuid4()
    answer(windows, third, 1, failed=True)
    assert windows.room(third) == 0
    for _ in range(3):
        windows.ended(webhook, failed=True, duration=SLOW)
    windows.ended(other, failed=True, duration=SLOW)
    assert windows.room(third) == 1
