"""What came of requests is counted by upkeep: in the end each of them once, whatever was recorded late, was rolled
back, or was done by several processes at once."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from dispatcher.ids import first_id_at, new_id
from dispatcher.settings import Settings
from dispatcher.webhooks.pulses.steps import DAY, FINE, HOUR
from tests.factories import change, make_webhook, rows, upkeep_once
from tests.many_rows import reading_less_than
from tests.requests_made import Made, Numbers, monday, record, truth
from workers.maintenance import pulses
from workers.maintenance.pulses import count_pulses

BEGIN = monday() + timedelta(hours=22, minutes=30)
MINUTE, HOURS = timedelta(minutes=1), timedelta(hours=1)
LONG_ENOUGH = timedelta(hours=32)  # until the second day is settled, and nothing is too old


def count(database: Engine, now: datetime) -> dict[str, int]:
    return count_pulses(database, now, monotonic() + 30)


def webhooks_of(database: Engine, settings: Settings) -> dict[UUID, UUID]:
    """Three webhooks of two accounts, each with its account's id."""
    made = [
        make_webhook(database, settings, url="https://example.com/", account=account, name=name)
        for account, name in (("acme", "a"), ("acme", "b"), ("globex", "a"))
    ]
    return {webhook.id: webhook.account_id for webhook in made}


def counted(database: Engine, span: int) -> dict[tuple[UUID, datetime, str], Numbers]:
    found = rows(database, "SELECT * FROM dispatcher.pulses WHERE span = :span", span=span)
    return {(row.of_id, row.starts_at, row.outcome): tuple(row[4:]) for row in found}


def is_true(database: Engine, made: list[Made], accounts: dict[UUID, UUID]) -> None:
    for span in (FINE, HOUR, DAY):
        assert counted(database, span) == truth(made, timedelta(minutes=span), accounts), span


KINDS = (
    {},
    {"messages": 30, "ms": 3},
    {"verdict": "rejected", "status": 404, "ms": 250},
    {"verdict": "temporary", "status": 503, "ms": 31_000},
    {"verdict": "temporary", "status": 799},
    {"verdict": "temporary", "status": None, "failure": "timeout", "ms": 30_000},
    {"verdict": None, "status": 401},
    *({"verdict": None, "messages": None, "status": status} for status in (101, 204, 410, 302, 500)),
    {"verdict": None, "messages": None, "status": None, "failure": "dns"},
)


class _Killed(Exception):
    """What a process does not survive."""


@pytest.mark.parametrize("seed", range(2))
def test_in_the_end_counts_are_the_truth_after_late_rows_rolled_back_and_concurrent_counts(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    accounts = webhooks_of(database, settings)
    senders = [*accounts, new_id()]  # one whose webhook was removed
    now, made, late = BEGIN, list[Made](), list[tuple[datetime, Made]]()
    dies = False
    add = pulses._add

    def add_or_die(*arguments: Any) -> Any:
        done = add(*arguments)
        if dies and chance.random() < 0.5:
            raise _Killed
        return done

    monkeypatch.setattr(pulses, "_add", add_or_die)
    while now < BEGIN + 3 * HOURS:
        passed = chance.choice([1, 1, 2, 3, 20, 70]) * MINUTE
        now += passed
        new = [
            Made(now - chance.random() * passed, chance.choice(senders), **chance.choice(KINDS))
            for _ in range(chance.choice([0, 5, 20]))
        ]
        comes_late = [one for one in new if chance.random() < 0.1]
        late += [(now + chance.choice([0.1, 1.5, 4.5]) * HOURS, one) for one in comes_late]
        due = [one for at, one in late if at <= now]
        late = [(at, one) for at, one in late if at > now]
        made += (recorded := [one for one in new if one not in comes_late] + due)
        record(database, recorded)
        dies = chance.random() < 0.3
        if chance.random() < 0.3 and not dies:
            with ThreadPoolExecutor(3) as threads:
                list(threads.map(count, [database] * 3, [now] * 3))
        else:
            try:
                count(database, now)
            except _Killed:
                assert dies
    dies = False
    record(database, [one for _, one in late])
    made += [one for _, one in late]
    assert len(made) > 100
    assert late
    for _ in range(3):  # each step goes as far as the one before it had come
        count(database, BEGIN + LONG_ENOUGH)
    is_true(database, made, accounts)


def test_requests_of_the_last_two_minutes_wait_and_the_others_are_counted_once(
    database: Engine, settings: Settings
) -> None:
    accounts = webhooks_of(database, settings)
    webhook = next(iter(accounts))
    made = [Made(BEGIN + number * 20 * timedelta(seconds=1), webhook) for number in range(30)]
    record(database, made)
    ends = made[-1].at
    assert [count(database, ends)["requests_folded"] for _ in range(2)] == [23, 0]
    assert count(database, ends + 5 * MINUTE)["requests_folded"] == 7
    assert counted(database, FINE) == truth(made, timedelta(minutes=FINE), accounts)


def test_without_time_nothing_is_counted_and_the_next_run_counts_all(database: Engine, settings: Settings) -> None:
    record(database, [Made(BEGIN, next(iter(webhooks_of(database, settings))))] * 3)
    later = BEGIN + HOURS
    assert count_pulses(database, later, 0.0)["requests_folded"] == 0
    assert count(database, later)["requests_folded"] == 3


def test_times_without_requests_are_passed_by_at_once(database: Engine, settings: Settings) -> None:
    webhook = next(iter(webhooks_of(database, settings)))
    record(database, [Made(monday(), webhook), Made(BEGIN, webhook)])
    asked = Counter[str]()
    event.listen(database, "before_cursor_execute", lambda *arguments: asked.update([arguments[2]]))
    for _ in range(3):
        count(database, BEGIN + LONG_ENOUGH)
    assert asked.total() < 150  # there are 600 pieces
    assert {starts_at for _, starts_at, _ in counted(database, DAY)} == {monday()}


def test_what_was_recorded_before_there_were_counts_is_counted_35_days_back(
    database: Engine, settings: Settings
) -> None:
    webhook = next(iter(webhooks_of(database, settings)))
    record(database, [Made(BEGIN, webhook), Made(BEGIN + HOURS, webhook)])
    count(database, BEGIN + timedelta(days=35, minutes=30))
    assert [row.reached for row in rows(database, "SELECT reached FROM dispatcher.pulse_marks")]
    assert sum(numbers[0] for numbers in counted(database, FINE).values()) == 3  # webhook, account, all


def test_counts_of_requests_that_are_not_kept_any_more_stay(database: Engine, settings: Settings) -> None:
    accounts = webhooks_of(database, settings)
    made = [Made(BEGIN + hours * HOURS, webhook) for webhook in accounts for hours in (0, 4)]
    record(database, made)
    count(database, BEGIN + 6 * HOURS)
    change(database, "DELETE FROM dispatcher.requests")
    for _ in range(3):
        assert count(database, BEGIN + LONG_ENOUGH)["pulses_recounted"] == 0
    is_true(database, made, accounts)


def test_each_span_is_forgotten_after_its_time(database: Engine, settings: Settings) -> None:
    record(database, [Made(BEGIN, next(iter(webhooks_of(database, settings))))])
    kept = []
    for hours in (47, 50, 34 * 24, 36 * 24, 402 * 24):
        for _ in range(4):
            count(database, BEGIN + hours * HOURS)
        kept.append([span for span in (FINE, HOUR, DAY) if counted(database, span)])
    assert kept == [[FINE, HOUR, DAY], [HOUR, DAY], [HOUR, DAY], [DAY], []]


def test_what_was_not_summed_up_yet_is_not_forgotten(database: Engine, settings: Settings) -> None:
    accounts = webhooks_of(database, settings)
    made = [Made(BEGIN, webhook) for webhook in accounts]
    record(database, made)
    for _ in range(2):
        count(database, BEGIN + 10 * MINUTE)
    count(database, BEGIN + timedelta(days=3))  # upkeep was away
    assert counted(database, FINE) == truth(made, timedelta(minutes=FINE), accounts)


def test_numbers_that_are_too_large_for_a_day_do_not_keep_others_from_it(database: Engine, settings: Settings) -> None:
    accounts = webhooks_of(database, settings)
    record(database, [Made(BEGIN + number * 10 * MINUTE, webhook) for webhook in accounts for number in range(3)])
    count(database, BEGIN + HOURS)
    change(database, f"UPDATE dispatcher.pulses SET t25 = {2**31 - 2}, millis = {2**63 - 2}, requests = 9")
    for _ in range(3):
        count(database, BEGIN + LONG_ENOUGH)
    assert {(numbers[2], numbers[4]) for numbers in counted(database, DAY).values()} == {(2**63 - 1, 2**31 - 1)}


def test_rows_that_no_version_writes_are_counted_too(database: Engine, settings: Settings) -> None:
    webhook = next(iter(webhooks_of(database, settings)))
    odd = [
        {"verdict": "unheard of", "status": -5, "messages": -7},
        {"verdict": "temporary", "status": None, "failure": "x" * 5_000},
        {"verdict": None, "status": None, "failure": None, "messages": None},
    ]
    record(database, [Made(BEGIN, webhook, **one) for one in odd])
    change(database, "UPDATE dispatcher.requests SET duration = '-178000000 years' WHERE status = -5")
    count(database, BEGIN + 10 * MINUTE)
    found = {
        outcome: numbers[:3] for (owner, _, outcome), numbers in counted(database, FINE).items() if owner == webhook
    }
    assert found == {
        "temporary:http_other": (1, 1, 0),
        f"temporary:{'x' * 40}": (1, 1, 0),
        "temporary:unknown": (1, 1, 0),
    }


def test_a_run_reads_no_more_than_what_it_counts(database: Engine, settings: Settings) -> None:
    webhook = next(iter(webhooks_of(database, settings)))
    record(database, [Made(BEGIN + number * MINUTE / 100, webhook) for number in range(6_000)])
    for later in (59, 60, 61):
        count(database, BEGIN + later * MINUTE)
    change(database, "ANALYZE dispatcher.requests, dispatcher.pulses")
    with Session(database) as session:
        for statement, given in (
            (pulses.ADD, {"starts_at": BEGIN}),
            (pulses.COMPARE, {"starts_at": BEGIN}),
            (pulses._NEXT, {"begin": BEGIN}),
        ):
            ids = {"first": first_id_at(BEGIN + 30 * MINUTE), "end": first_id_at(BEGIN + 31 * MINUTE)}
            with (
                reading_less_than(500, session, "requests", statement),
                reading_less_than(100, session, "pulses", statement),
            ):
                session.execute(statement, {**ids, **given})


def test_upkeep_does_it(database: Engine, settings: Settings) -> None:
    webhook = next(iter(webhooks_of(database, settings)))
    record(database, [Made(datetime.now(UTC) - 3 * MINUTE, webhook)])
    assert upkeep_once(settings)["requests_folded"] == 1
