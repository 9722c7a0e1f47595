"""How an account's rates are counted, on a broker in this process."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from dispatcher.accounts.api_keys import Caller
from dispatcher.settings.quotas import DEFAULTS, Limits, Quota, limits_of
from dispatcher.web.problems import Problem
from dispatcher.web.quotas import EVENT, READ, URL_VERIFICATION, Rates, Together
from dispatcher.web.request_counts import RequestCounts
from tests.unit.dispatcher.conftest import Clock, FakeBroker, until, while_no_thread_is_free

NOTHING: Limits = dict.fromkeys(Quota)
TO_MIDNIGHT = 16 * 3600  # of the clock's first moment


def rates(broker: FakeBroker, limits: Mapping[Quota, int | None] | None = None) -> Rates:
    return Rates(broker.url, {**NOTHING, **(limits or {})}, RequestCounts())


def caller(account: UUID | None = None, **more: object) -> Caller:
    return Caller(
        key_id=uuid4(),
        account_id=account or uuid4(),
        account="acme",
        scopes=frozenset(),
        expires_at=None,
        shown_at=datetime.now(UTC),
        **more,  # type: ignore[arg-type]
    )


def spent(counted: Rates, who: Caller, rate: Together, times: int) -> int:
    """How many of so many requests of threads are let in."""

    def one() -> bool:
        try:
            counted.spend(who, rate)
        except Problem:
            return False
        return True

    return sum(one() for _ in range(times))


def charged(counted: Rates, who: Caller, rate: Together, times: int) -> int:
    """How many of so many requests of coroutines at once are let in."""

    async def one() -> bool:
        try:
            await counted.charge(who, rate)
        except Problem:
            return False
        return True

    async def all_of_them() -> int:
        let_in = sum(await asyncio.gather(*(one() for _ in range(times))))
        await asyncio.gather(*counted._renewals.values())  # what is counted ahead
        return let_in

    return asyncio.run(all_of_them())


def refusal(counted: Rates, who: Caller, rate: Together, number: int = 1) -> Problem:
    with pytest.raises(Problem) as refused:
        counted.spend(who, rate, number)
    return refused.value


def test_what_a_rate_allows_may_come_at_once_and_flows_back_evenly(fake_broker: FakeBroker, clock: Clock) -> None:
    counted, who = rates(fake_broker, {Quota.READS_PER_MINUTE: 60}), caller()
    assert spent(counted, who, READ, 100) == 60
    clock.go_on(10)
    assert spent(counted, who, READ, 100) == 10
    clock.go_on(600)
    assert spent(counted, who, READ, 100) == 60


def test_who_waits_as_long_as_asked_may_go_on_and_not_a_second_earlier(fake_broker: FakeBroker, clock: Clock) -> None:
    counted, who = rates(fake_broker, {Quota.URL_VERIFICATIONS_PER_HOUR: 2}), caller()
    assert spent(counted, who, URL_VERIFICATION, 3) == 2
    refused = refusal(counted, who, URL_VERIFICATION)
    assert (refused.status, refused.headers) == (429, {"Retry-After": "1800"})
    assert refused.detail == (
        "the account may make 2 URL verifications an hour (its limit `url_verifications_per_hour`), over all its keys"
    )
    clock.go_on(1_799)
    assert spent(counted, who, URL_VERIFICATION, 1) == 0
    clock.go_on(1)
    assert spent(counted, who, URL_VERIFICATION, 2) == 1


def test_all_keys_and_processes_of_an_account_count_together_and_other_accounts_apart(
    fake_broker: FakeBroker, clock: Clock
) -> None:
    one, other, account = (rates(fake_broker, {Quota.READS_PER_MINUTE: 5}) for _ in range(2)), None, uuid4()
    first, second = one
    assert spent(first, caller(account), READ, 3) == 3
    assert spent(second, caller(account), READ, 9) == 2
    assert spent(second, caller(other), READ, 9) == 5


def test_an_accounts_own_limit_holds_in_place_of_the_installations(fake_broker: FakeBroker, clock: Clock) -> None:
    counted = rates(fake_broker, {Quota.READS_PER_MINUTE: 5})
    assert spent(counted, caller(limits={"reads_per_minute": 7}), READ, 9) == 7
    assert spent(counted, caller(limits={"reads_per_minute": None}), READ, 9) == 9
    assert spent(counted, caller(limits={"reads_per_minute": "odd"}), READ, 9) == 5


def test_an_operators_key_has_no_limit_and_is_not_counted(fake_broker: FakeBroker, clock: Clock) -> None:
    counted = rates(fake_broker, {Quota.READS_PER_MINUTE: 1, Quota.EVENTS_PER_SECOND: 1})
    operator = Caller(uuid4(), None, None, frozenset(), None, datetime.now(UTC))
    assert spent(counted, operator, READ, 9) == charged(counted, operator, EVENT, 9) == 9
    assert fake_broker.client.keys("*") == []


# Events


def test_events_are_limited_by_the_second_and_by_the_day(fake_broker: FakeBroker, clock: Clock) -> None:
    counted, who = rates(fake_broker, {Quota.EVENTS_PER_SECOND: 10, Quota.EVENTS_PER_DAY: 25}), caller()
    for allowed in (10, 10, 5, 0):
        assert spent(counted, who, EVENT, 20) == allowed
        clock.go_on(1)
    refused = refusal(counted, who, EVENT)
    assert "25 events a day" in refused.detail
    assert refused.headers == {"Retry-After": str(TO_MIDNIGHT - 4)}
    clock.go_on(TO_MIDNIGHT - 5)
    assert spent(counted, who, EVENT, 1) == 0
    clock.go_on(1)
    assert spent(counted, who, EVENT, 20) == 10


def test_a_batch_is_taken_whole_and_waited_for_by_those_who_come_next(fake_broker: FakeBroker, clock: Clock) -> None:
    counted, who = rates(fake_broker, {Quota.EVENTS_PER_SECOND: 10}), caller()
    counted.spend(who, EVENT, 100)
    assert refusal(counted, who, EVENT).headers == {"Retry-After": "10"}
    clock.go_on(9)
    assert spent(counted, who, EVENT, 1) == 0
    clock.go_on(1)
    assert spent(counted, who, EVENT, 20) == 10


def test_a_batch_that_the_day_does_not_allow_is_refused_whole_and_a_smaller_one_is_not(
    fake_broker: FakeBroker, clock: Clock
) -> None:
    counted, who = rates(fake_broker, {Quota.EVENTS_PER_DAY: 100}), caller()
    counted.spend(who, EVENT, 60)
    assert refusal(counted, who, EVENT, 41).status == 429
    counted.spend(who, EVENT, 40)
    assert refusal(counted, who, EVENT).status == 429


def test_who_has_stored_as_much_as_it_may_sends_nothing_until_there_is_room(
    fake_broker: FakeBroker, clock: Clock
) -> None:
    counted = rates(fake_broker, {Quota.STORED_BYTES: 1_000})
    for full in (caller(stored_bytes=1_000), caller(stored_bytes=7, limits={"stored_bytes": 5})):
        with pytest.raises(Problem, match="bytes stored for events") as refused:
            asyncio.run(counted.charge_event(full))
        assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "60"})
    for has_room in (caller(stored_bytes=999), caller(), caller(stored_bytes=5_000, limits={"stored_bytes": None})):
        asyncio.run(counted.charge_event(has_room))
        counted.spend_events(has_room, 2)


# What is counted in advance


def asks(counted: Rates, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For how many the broker is asked, each time."""
    asked, take = [], counted._take

    def noted(account: UUID, limits: object, number: int, **more: object) -> object:
        asked.append(number)
        return take(account, limits, number, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(counted, "_take", noted)
    return asked


def test_a_busy_account_asks_the_broker_a_few_times_only(
    fake_broker: FakeBroker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, who = rates(fake_broker, {Quota.EVENTS_PER_SECOND: 1_000}), caller()
    asked = asks(counted, monkeypatch)
    assert charged(counted, who, EVENT, 600) == 600
    assert asked == [1, 2, 4, 8, 16, 32, 64, 100, 100, 100, 100, 100]


def test_an_account_gets_all_that_it_may_over_processes_and_seconds_and_no_more(
    fake_broker: FakeBroker, clock: Clock
) -> None:
    who, both = caller(), [rates(fake_broker, {Quota.EVENTS_PER_SECOND: 1_000}) for _ in range(2)]
    taken = 0
    for _ in range(100):
        taken += sum(charged(counted, who, EVENT, 20) for counted in both)
        clock.go_on(0.01)
    for _ in range(100):  # more than it may
        taken += sum(charged(counted, who, EVENT, 20) for counted in both)
        clock.go_on(0.01)
    assert 2_800 <= taken <= 3_000  # two seconds' and what could come at once in the beginning


def test_what_was_counted_and_not_used_is_given_back(fake_broker: FakeBroker, clock: Clock) -> None:
    counted, who = rates(fake_broker, {Quota.EVENTS_PER_DAY: 100_000}), caller()
    for _ in range(30):
        assert charged(counted, who, EVENT, 40) == 40
        clock.go_on(1.1)
    assert charged(counted, who, EVENT, 1) == 1
    assert counted.used(who.account_id or uuid4(), limits_of(None, {**NOTHING, Quota.EVENTS_PER_DAY: 100_000})) == {
        Quota.EVENTS_PER_DAY: 30 * 40 + 1
    }


def test_the_next_ones_are_counted_before_the_last_are_used_so_that_nobody_waits(
    fake_broker: FakeBroker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, who = rates(fake_broker, {Quota.EVENTS_PER_SECOND: 1_000}), caller()
    assert charged(counted, who, EVENT, 150) == 150
    waited = []
    shield = asyncio.shield

    def noted(renewal: asyncio.Task[None]) -> object:
        waited.append(renewal)
        return shield(renewal)

    monkeypatch.setattr(asyncio, "shield", noted)

    async def steadily() -> None:
        for _ in range(400):
            await counted.charge(who, EVENT)
            await asyncio.sleep(0.0005)

    asyncio.run(steadily())
    assert len(waited) <= 2
    assert counted.used(who.account_id or uuid4(), {**NOTHING, Quota.EVENTS_PER_SECOND: 1_000}) is not None


def test_an_account_waits_for_nobody_who_waits_for_the_database(
    fake_broker: FakeBroker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, who = rates(fake_broker, {Quota.EVENTS_PER_SECOND: 1}), caller()
    asked = asks(counted, monkeypatch)
    asyncio.run(while_no_thread_is_free(counted.charge(who, EVENT)))
    assert asked == [1]


def test_a_slow_account_is_charged_what_it_uses(fake_broker: FakeBroker, clock: Clock) -> None:
    counted, who = rates(fake_broker, {Quota.EVENTS_PER_DAY: 30}), caller()
    for _ in range(30):
        assert charged(counted, who, EVENT, 1) == 1
        clock.go_on(1.1)
    assert charged(counted, who, EVENT, 1) == 0


def test_a_refusal_is_remembered_for_a_second_at_most_so_that_a_higher_limit_holds_soon(
    fake_broker: FakeBroker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, who = rates(fake_broker, {Quota.EVENTS_PER_DAY: 1}), caller()
    assert charged(counted, who, EVENT, 50) == 1
    asked = asks(counted, monkeypatch)
    assert charged(counted, who, EVENT, 50) == 0
    assert asked == []
    clock.go_on(1.1)
    assert charged(counted, caller(who.account_id, limits={"events_per_day": 3}), EVENT, 9) == 2


def test_without_a_limit_the_broker_is_not_asked(fake_broker: FakeBroker, clock: Clock) -> None:
    counted, who = rates(fake_broker), caller()
    assert charged(counted, who, EVENT, 2_500) == 2_500
    assert spent(counted, who, READ, 100) == 100
    assert fake_broker.client.keys("*") == []


def test_what_is_no_longer_of_importance_does_not_stay_in_the_broker(fake_broker: FakeBroker, clock: Clock) -> None:
    counted, who = rates(fake_broker, DEFAULTS), caller()
    assert spent(counted, who, EVENT, 10) == spent(counted, who, READ, 10) == 10
    ends = {name.rpartition(":")[2]: fake_broker.client.pttl(name) for name in fake_broker.client.keys("*")}
    assert 0 < ends["events_per_day"] <= 86_400_000
    assert 0 < ends["events_per_second"] <= 12
    assert 0 < ends["reads_per_minute"] <= 102


# The broker is away


def test_while_the_broker_is_away_nobody_is_refused_and_a_line_and_a_count_say_so(
    fake_broker: FakeBroker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    counts = RequestCounts()
    counted, who = Rates(fake_broker.url, {**NOTHING, Quota.READS_PER_MINUTE: 1}, counts), caller()
    assert spent(counted, who, READ, 2) == 1
    assert (counts.refused_at, counts.let_in) == ({"reads_per_minute": 1}, 0)
    fake_broker.go_away()
    with caplog.at_level(logging.WARNING, "dispatcher.api.quotas"):
        assert spent(counted, who, READ, 20) == 20
    assert counts.let_in == 20
    (told,) = [record.getMessage() for record in caplog.records if record.name == "dispatcher.api.quotas"]
    assert "quotas are not counted" in told
    assert fake_broker.url not in told
    assert charged(counted, who, READ, 50) == 50
    assert counted.used(uuid4(), DEFAULTS) == {}
    fake_broker.come_back()
    clock.go_on(5.1)
    until(lambda: spent(counted, who, READ, 20) <= 1)
