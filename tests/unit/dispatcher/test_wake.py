"""Wakes, marks and delayed wakes, on a broker in this process."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from kombu import Queue

from dispatcher.wake import (
    AWAKE_SECONDS,
    BELL,
    DELIVER,
    LOOP_LIFE_SECONDS,
    NOTICES,
    PARKED,
    QUEUES,
    REDELIVER,
    SWEEP,
    WAKE_LIFE_SECONDS,
    Waker,
)
from tests.unit.dispatcher.conftest import Clock, FakeBroker, until

MARK = "dispatcher:wake:dispatcher.deliver"


@pytest.fixture
def waker(fake_broker: FakeBroker) -> Waker:
    return Waker(fake_broker.url)


def sent(broker: FakeBroker, task: str = DELIVER) -> list[dict[str, Any]]:
    """The headers of what waits in a task's queue, oldest first."""
    return [json.loads(message)["headers"] for message in reversed(broker.client.lrange(QUEUES[task], 0, -1))]


# The mark


def test_wakes_are_sent_once_while_one_is_on_its_way(waker: Waker, fake_broker: FakeBroker) -> None:
    assert [waker.wake() for _ in range(3)] == [True, False, False]
    (message,) = sent(fake_broker)
    assert message["task"] == DELIVER
    assert (message["argsrepr"], message["kwargsrepr"], message["eta"]) == ("()", "{}", None)
    assert fake_broker.client.get(MARK) == "sent"


def test_one_client_of_the_broker_serves_all_wakes(waker: Waker, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(redis.Redis):  # type: ignore[type-arg,unused-ignore]
        def __init__(self, **options: Any) -> None:
            made.append(options)
            super().__init__(**options)

    monkeypatch.setattr("redis.Redis", Counted)
    waker.wake()  # its message is sent by Kombu, which makes some of its own
    before = len(made)
    for _ in range(3):
        waker.wake()
        waker.leave()
    assert (before > 0, len(made) - before) == (True, 0)


def test_a_wake_that_nobody_took_is_sent_again_after_five_seconds(
    waker: Waker, fake_broker: FakeBroker, clock: Clock
) -> None:
    waker.wake()
    clock.go_on(4.9)
    assert not waker.wake()
    clock.go_on(0.2)
    assert waker.wake()
    assert len(sent(fake_broker)) == 2


def test_of_many_who_wake_at_once_one_sends(waker: Waker, fake_broker: FakeBroker) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(lambda _: waker.wake(), range(24))) == [False] * 23 + [True]
    assert len(sent(fake_broker)) == 1


def test_other_processes_see_the_mark(waker: Waker, fake_broker: FakeBroker) -> None:
    waker.wake()
    assert not Waker(fake_broker.url).wake()


@pytest.mark.parametrize(
    ("task", "queue"), [(DELIVER, "deliver"), (NOTICES, "mail"), (SWEEP, "upkeep"), (REDELIVER, "upkeep")]
)
def test_each_task_has_its_queue_and_its_own_mark(waker: Waker, fake_broker: FakeBroker, task: str, queue: str) -> None:
    assert waker.wake(task)
    assert not waker.wake(task)
    assert fake_broker.client.llen(queue) == 1
    assert [message["task"] for message in sent(fake_broker, task)] == [task]
    assert all(waker.wake(other) for other in QUEUES if other != task)


def test_another_is_woken_whatever_the_mark_says(waker: Waker, fake_broker: FakeBroker) -> None:
    waker.awake()
    assert [waker.wake_another() for _ in range(2)] == [True, True]
    assert len(sent(fake_broker)) == 2
    assert fake_broker.client.get(MARK) == "awake"


def test_a_loop_that_is_awake_needs_no_wake_until_it_has_said_nothing_for_three_seconds(
    waker: Waker, fake_broker: FakeBroker, clock: Clock
) -> None:
    assert waker.awake()
    clock.go_on(2.9)
    assert waker.awake()
    clock.go_on(2.9)
    assert not waker.wake()
    assert sent(fake_broker) == []
    clock.go_on(0.2)
    assert waker.wake()


def test_a_loop_that_begins_takes_over_the_mark_of_the_wake(waker: Waker, clock: Clock) -> None:
    waker.wake()
    waker.awake()
    clock.go_on(3.1)  # the wake's own mark would have stood for five seconds
    assert waker.wake()


def test_whoever_comes_after_a_loop_went_to_sleep_wakes_the_next(waker: Waker, fake_broker: FakeBroker) -> None:
    waker.awake()
    assert waker.asleep()
    assert not waker.asleep()
    assert fake_broker.client.get(MARK) is None
    assert waker.wake()


def test_going_to_sleep_leaves_other_tasks_marks(waker: Waker) -> None:
    waker.wake(NOTICES)
    waker.awake()
    waker.asleep()
    assert not waker.wake(NOTICES)


# The bell


def park(broker: FakeBroker) -> None:
    """As a parked loop does it."""
    broker.client.set(PARKED, "1", ex=AWAKE_SECONDS)


def rings(broker: FakeBroker) -> int:
    return broker.client.llen(BELL)


def test_where_a_loop_is_parked_a_wake_is_one_ring_whoever_wakes_and_no_message(
    waker: Waker, fake_broker: FakeBroker
) -> None:
    park(fake_broker)
    assert [each.wake() for each in (waker, Waker(fake_broker.url), waker)] == [False] * 3
    assert [waker.wake_another() for _ in range(2)] == [True, True]
    assert (rings(fake_broker), sent(fake_broker), fake_broker.client.get(MARK)) == (1, [], None)


def test_a_parked_loop_that_has_said_nothing_for_three_seconds_is_forgotten(
    waker: Waker, fake_broker: FakeBroker, clock: Clock
) -> None:
    park(fake_broker)
    clock.go_on(2.9)
    assert not waker.wake()
    clock.go_on(0.2)
    assert waker.wake()
    assert rings(fake_broker) == 1


def test_a_message_brings_a_ring_too_so_that_a_loop_that_is_just_parking_finds_it(
    waker: Waker, fake_broker: FakeBroker
) -> None:
    assert [waker.wake(), waker.wake()] == [True, False]
    assert rings(fake_broker) == 1


@pytest.mark.parametrize("task", [task for task in QUEUES if task != DELIVER])
def test_other_tasks_have_no_bell(waker: Waker, fake_broker: FakeBroker, task: str) -> None:
    park(fake_broker)
    assert waker.wake(task)
    assert rings(fake_broker) == 0


def test_a_parked_loop_that_ends_leaves_a_ring_and_no_mark(waker: Waker, fake_broker: FakeBroker) -> None:
    park(fake_broker)
    assert waker.leave()
    assert (rings(fake_broker), fake_broker.client.get(PARKED)) == (1, None)
    assert waker.wake()


def test_messages_that_nobody_takes_do_not_stay_for_ever(waker: Waker, fake_broker: FakeBroker) -> None:
    queue = Queue("loops.node")
    for task in QUEUES:
        waker.wake(task)
    assert waker.start_loops(queue, 2)
    lives = [
        datetime.fromisoformat(message["expires"]) - datetime.now(UTC)
        for name in (*QUEUES.values(), queue.name)
        for message in (json.loads(each)["headers"] for each in fake_broker.client.lrange(name, 0, -1))
    ]
    assert len(lives) > len(QUEUES)
    assert timedelta(hours=1) < max(lives) <= timedelta(seconds=WAKE_LIFE_SECONDS)
    assert timedelta() < min(lives) <= timedelta(seconds=LOOP_LIFE_SECONDS)


# Delayed wakes


def test_an_delayed_wake_is_set_once_for_each_slot_and_task(waker: Waker, fake_broker: FakeBroker) -> None:
    assert [waker.wake_later(SWEEP, slot, 90.0) for slot in (7, 7, 8, 7)] == [True, False, True, False]
    assert waker.wake_later(REDELIVER, 7, 90.0)
    assert [message["task"] for message in sent(fake_broker, SWEEP)] == [SWEEP, SWEEP, REDELIVER]


def test_an_delayed_wake_rings_after_its_countdown_and_may_come_again_a_minute_later(
    waker: Waker, fake_broker: FakeBroker, clock: Clock
) -> None:
    before = datetime.now(UTC)
    waker.wake_later(SWEEP, 7, 90.0)
    (message,) = sent(fake_broker, SWEEP)
    rings, ends = (datetime.fromisoformat(message[name]) for name in ("eta", "expires"))
    assert before + timedelta(seconds=90) <= rings <= datetime.now(UTC) + timedelta(seconds=90)
    assert timedelta(seconds=3659.9) < ends - rings < timedelta(seconds=3660.1)
    clock.go_on(149)
    assert not waker.wake_later(SWEEP, 7, 0)
    clock.go_on(2)
    assert waker.wake_later(SWEEP, 7, 0)


def test_delayed_wakes_and_wakes_do_not_stand_in_each_others_way(waker: Waker) -> None:
    assert waker.wake_later(SWEEP, 7, 90.0)
    assert waker.wake(SWEEP)
    assert waker.wake_later(SWEEP, 8, 90.0)


# The broker is away

CALLS: dict[str, Callable[[Waker], bool]] = {
    "wake": Waker.wake,
    "wake_another": Waker.wake_another,
    "delayed wake": lambda waker: waker.wake_later(SWEEP, 7, 90.0),
    "awake": Waker.awake,
    "leave": Waker.leave,
    "start loops": lambda waker: waker.start_loops(Queue("loops.node"), 1),
    "asleep": Waker.asleep,
}


@pytest.mark.parametrize("call", CALLS)
def test_a_broker_that_is_away_is_reported_once_and_is_nobodys_error(
    waker: Waker, fake_broker: FakeBroker, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    waker.awake()
    fake_broker.go_away()
    with caplog.at_level(logging.WARNING, "dispatcher.wake"):
        assert [CALLS[call](waker) for _ in range(3)] == [False] * 3
    (told,) = [record.getMessage() for record in caplog.records if record.name == "dispatcher.wake"]
    assert "nothing is lost" in told
    assert fake_broker.url not in told


def test_a_broker_that_was_away_is_left_alone_for_five_seconds_and_then_used_again(
    waker: Waker, fake_broker: FakeBroker, clock: Clock
) -> None:
    waker.asleep()  # it was there
    fake_broker.go_away()
    waker.wake()
    fake_broker.come_back()
    clock.go_on(4.9)
    assert not any(call(waker) for call in CALLS.values())
    assert (sent(fake_broker), sent(fake_broker, SWEEP), fake_broker.client.get(MARK)) == ([], [], None)
    assert not fake_broker.client.exists(BELL)
    clock.go_on(0.2)
    until(waker.wake)  # the first who comes by has a thread look
    assert (rings(fake_broker), len(sent(fake_broker))) == (1, 1)
