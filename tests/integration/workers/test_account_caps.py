"""An account has no more requests in flight than its limit, over all webhooks, and others are not held up by it."""

from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import Event, enqueue_many
from dispatcher.settings import Settings
from dispatcher.settings.quotas import DEFAULTS, Quota
from tests.factories import RECEIVED, change, deliver_all, make_webhook, rows
from tests.receiver import Receiver
from workers.claims.account_caps import caps_of
from workers.claims.concurrency import UNBOUNDED, ConcurrencyLimits


def limit(database: Engine, value: str, account: str = "acme") -> None:
    change(
        database,
        "UPDATE dispatcher.accounts SET limits = jsonb_build_object('requests_in_flight', CAST(:value AS jsonb))"
        " WHERE name = :name",
        value=value,
        name=account,
    )


def send(number: int, account: str = "acme") -> None:
    list(enqueue_many(Event(type=RECEIVED, data=n, account=account) for n in range(number)))


@pytest.mark.parametrize(("limit_", "most"), [("2", 2), ("null", 8)])
def test_a_loop_keeps_to_it(
    database: Engine, settings: Settings, receiver: Receiver, limit_: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:

    for name in "ab":
        make_webhook(database, settings, url=receiver.url(f"/{name}"), name=name)
    make_webhook(database, settings, url=receiver.url("/other"), account="globex")
    limit(database, limit_)
    send(6)
    send(6, "globex")
    seen: dict[int, int] = {}
    sent = ConcurrencyLimits.sent

    def noted(limits: ConcurrencyLimits, webhook: str, account: int, *more: Any) -> None:
        sent(limits, webhook, account, *more)
        seen[account] = max(seen.get(account, 0), limits._all.by_account[account])

    monkeypatch.setattr(ConcurrencyLimits, "sent", noted)
    deliver_all(settings)
    numbers = {row.name: row.number for row in rows(database, "SELECT name, number FROM dispatcher.accounts")}
    assert (seen[numbers["acme"]], seen[numbers["globex"]]) == (most, 4)
    assert {row.state for row in rows(database, "SELECT state FROM dispatcher.deliveries")} == {"delivered"}


def test_trials_and_tests_count_too(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:

    for number in range(6):
        make_webhook(database, settings, url=receiver.url(f"/{number}"), name=str(number))
    limit(database, "1")
    send(1)
    change(
        database,
        "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trial_at)"
        " SELECT id, 5, now(), now(), now() FROM dispatcher.webhooks",
    )
    seen = []
    sent = ConcurrencyLimits.sent

    def noted(limits: ConcurrencyLimits, *given: Any) -> None:
        sent(limits, *given)
        seen.append(limits.in_flight)

    monkeypatch.setattr(ConcurrencyLimits, "sent", noted)
    deliver_all(settings)
    assert (len(seen), max(seen)) == (6, 1)


def test_each_process_has_its_part_but_one_request_at_least(database: Engine, settings: Settings) -> None:
    for number, value in enumerate(("10", "1", "null", '"odd"')):
        make_webhook(database, settings, url="https://example.com/", account=f"a{number}")
        limit(database, value, f"a{number}")
    make_webhook(database, settings, url="https://example.com/", account="usual")
    numbers = {row.name: row.number for row in rows(database, "SELECT name, number FROM dispatcher.accounts")}
    with database.connect() as connection:
        usual, own = caps_of(connection, {**DEFAULTS, Quota.REQUESTS_IN_FLIGHT: 100}, 4)
    assert usual == 25
    assert own == {numbers["a0"]: 2, numbers["a1"]: 1, numbers["a2"]: UNBOUNDED, numbers["a3"]: 25}
    with database.connect() as connection:
        assert caps_of(connection, DEFAULTS, 4)[0] == UNBOUNDED


def test_accounts_without_limits_are_not_read(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="https://example.com/")
    with database.connect() as connection:
        assert caps_of(connection, DEFAULTS, 1) == (UNBOUNDED, {})
