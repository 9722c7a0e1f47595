"""How a key's requests are counted, on a broker in this process."""

import asyncio
import logging
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from dispatcher.accounts.api_keys import Caller
from dispatcher.web.problems import Problem
from dispatcher.web.rate_limits import RateLimits
from tests.unit.dispatcher.conftest import Clock, FakeBroker, until, while_no_thread_is_free


def taken(limits: RateLimits, key: str, requests: int) -> int:
    """How many of so many requests at once may be made."""
    return [limits.seconds_to_wait(key) for _ in range(requests)].count(0)


def test_a_key_has_its_requests_each_minute(fake_broker: FakeBroker, clock: Clock) -> None:
    limits = RateLimits(fake_broker.url, 5)
    for _ in range(4):
        assert taken(limits, "k", 20) == 5
        clock.go_on(121)  # two minutes later nothing of it counts any more


@pytest.mark.parametrize("gone", [1, 20, 59])
def test_who_waits_as_long_as_asked_may_go_on_and_not_a_second_earlier(
    fake_broker: FakeBroker, clock: Clock, gone: float
) -> None:
    limits = RateLimits(fake_broker.url, 1)
    assert limits.seconds_to_wait("k") == 0
    clock.go_on(gone)
    wait = limits.seconds_to_wait("k")
    assert wait == 60 - gone
    clock.go_on(wait - 0.9)
    assert limits.seconds_to_wait("k") == 1
    clock.go_on(1)
    assert limits.seconds_to_wait("k") == 0


def test_the_turn_of_a_minute_does_not_give_the_limit_twice(fake_broker: FakeBroker, clock: Clock) -> None:
    limits = RateLimits(fake_broker.url, 10)
    taken(limits, "k", 1)
    clock.go_on(59)
    assert taken(limits, "k", 20) == 9
    clock.go_on(2)  # one of the ten may have been made more than a minute ago
    assert taken(limits, "k", 20) == 1
    clock.go_on(29)
    assert taken(limits, "k", 20) == 4


def test_a_refused_request_does_not_count(fake_broker: FakeBroker, clock: Clock) -> None:
    limits = RateLimits(fake_broker.url, 5)
    assert taken(limits, "k", 50) == 5
    clock.go_on(90)  # half of the minute before counts
    assert taken(limits, "k", 50) == 3


def test_other_keys_have_their_own_count(fake_broker: FakeBroker, clock: Clock) -> None:
    limits = RateLimits(fake_broker.url, 3)
    assert taken(limits, "k", 10) == 3
    assert taken(limits, "another", 10) == 3


def test_all_processes_count_together(fake_broker: FakeBroker, clock: Clock) -> None:
    one, other = RateLimits(fake_broker.url, 5), RateLimits(fake_broker.url, 5)
    assert taken(one, "k", 3) == 3
    assert taken(other, "k", 10) == 2


# The broker is away


def test_while_the_broker_is_away_every_request_may_be_made_and_one_line_says_so(
    fake_broker: FakeBroker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    limits = RateLimits(fake_broker.url, 1)
    assert taken(limits, "k", 2) == 1
    fake_broker.go_away()
    with caplog.at_level(logging.WARNING, "dispatcher.api.rate_limits"):
        assert taken(limits, "k", 20) == 20
    (told,) = [record.getMessage() for record in caplog.records if record.name == "dispatcher.api.rate_limits"]
    assert "not counted" in told
    assert fake_broker.url not in told


def test_a_broker_that_was_away_is_left_alone_for_five_seconds_and_counts_again(
    fake_broker: FakeBroker, clock: Clock
) -> None:
    limits = RateLimits(fake_broker.url, 1)
    assert taken(limits, "k", 2) == 1
    fake_broker.go_away()
    assert taken(limits, "k", 2) == 2
    fake_broker.come_back()
    clock.go_on(4.9)
    assert taken(limits, "k", 20) == 20
    clock.go_on(0.2)
    until(lambda: taken(limits, "k", 20) == 0)  # the first who comes by has a thread look


# A caller's requests


def caller() -> Caller:
    return Caller(
        key_id=uuid4(), account_id=None, account=None, scopes=frozenset(), expires_at=None, shown_at=datetime.now(UTC)
    )


def test_one_too_many_is_reported_with_the_time_to_wait(fake_broker: FakeBroker, clock: Clock) -> None:
    limits = RateLimits(fake_broker.url, 2)
    busy, other = caller(), caller()
    asyncio.run(limits.charge(busy))
    asyncio.run(limits.charge(busy))
    clock.go_on(10)
    with pytest.raises(Problem, match="more than 2 requests a minute") as refused:
        asyncio.run(limits.charge(busy))
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "50"})
    asyncio.run(limits.charge(other))
    clock.go_on(51)
    asyncio.run(limits.charge(busy))


def test_a_limit_of_zero_is_none_and_counts_nothing(fake_broker: FakeBroker) -> None:
    limits = RateLimits(fake_broker.url, 0)
    busy = caller()
    for _ in range(100):
        asyncio.run(limits.charge(busy))
    assert fake_broker.client.keys("*") == []


# Requests that are counted in advance


def charged(limits: RateLimits, who: Caller, requests: int) -> int:
    """How many of so many requests at once a coroutine may make."""

    async def one() -> bool:
        try:
            await limits.charge(who)
        except Problem:
            return False
        return True

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*(one() for _ in range(requests))))

    return asyncio.run(all_of_them())


def counted(broker: FakeBroker) -> int:
    """How many requests the broker has counted."""
    return sum(int(broker.client.get(key) or 0) for key in broker.client.keys("*"))


def test_a_slow_key_is_charged_what_it_uses(fake_broker: FakeBroker, clock: Clock) -> None:
    limits, slow = RateLimits(fake_broker.url, 6_000), caller()
    for number in range(1, 30):
        assert charged(limits, slow, 1) == 1
        assert counted(fake_broker) == number
        clock.go_on(1.1)


@pytest.mark.parametrize(("per_minute", "most"), [(60_000, 600), (1_000_000, 1_000)])
def test_a_busy_key_counts_a_hundredth_of_its_limit_in_advance_or_a_thousand(
    fake_broker: FakeBroker, clock: Clock, per_minute: int, most: int
) -> None:
    limits, busy = RateLimits(fake_broker.url, per_minute), caller()
    assert charged(limits, busy, 1_024) == 1_024
    assert counted(fake_broker) == 1_023 + most


def test_a_busy_key_asks_the_broker_a_few_times_only(fake_broker: FakeBroker, clock: Clock) -> None:
    limits, busy = RateLimits(fake_broker.url, 6_000), caller()
    asked = []
    count = limits.seconds_to_wait
    limits.seconds_to_wait = lambda *given: asked.append(given) or count(*given)  # type: ignore[method-assign,func-returns-value]
    assert charged(limits, busy, 600) == 600
    assert [requests for _, requests in asked] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60, 60, 60]
    clock.go_on(1.1)  # what was left is lost
    assert charged(limits, busy, 1) == 1
    assert asked[-1] == (busy.key_id.hex, 1)


def test_a_key_waits_for_nobody_who_waits_for_the_database(fake_broker: FakeBroker, clock: Clock) -> None:
    limits, busy = RateLimits(fake_broker.url, 1), caller()
    asyncio.run(while_no_thread_is_free(limits.charge(busy)))
    assert counted(fake_broker) == 1


def test_a_busy_key_has_its_requests_over_all_processes_but_what_one_counted_and_did_not_use(
    fake_broker: FakeBroker, clock: Clock
) -> None:
    busy, both = caller(), [RateLimits(fake_broker.url, 1_000) for _ in range(2)]
    assert 990 <= sum(charged(limits, busy, 700) for limits in both) <= 1_000
    clock.go_on(1.1)
    assert [charged(limits, busy, 20) for limits in both] == [0, 0]
    clock.go_on(121)
    assert charged(both[0], busy, 5) == 5


def test_a_refusal_is_remembered_until_it_ends(fake_broker: FakeBroker, clock: Clock) -> None:
    limits, busy = RateLimits(fake_broker.url, 1), caller()
    assert charged(limits, busy, 1) == 1
    clock.go_on(1)
    assert charged(limits, busy, 1) == 0
    fake_broker.go_away()  # nobody asks it
    clock.go_on(20)
    with pytest.raises(Problem) as refused:
        asyncio.run(limits.charge(busy))
    assert refused.value.headers == {"Retry-After": "39"}
    fake_broker.come_back()
    clock.go_on(40)
    assert charged(limits, busy, 1) == 1
