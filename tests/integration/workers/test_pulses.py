"""What came of requests is counted by upkeep: in the end each of them once, whatever was recorded late, was rolled
back, or was done by several processes at once."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher.ids import new_id
from dispatcher.pulses.steps import DAY, FINE, HOUR
from dispatcher.settings import Settings
from tests.factories import make_webhook, rows
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
