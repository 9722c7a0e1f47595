"""Quotas of numbers of things hold whoever makes one more, also for two at the same moment."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Scope, create_key, keys_page, revoke_key
from dispatcher.accounts.limits import own_limits, set_limits
from dispatcher.deliveries.bulk_redelivery import cancel, order
from dispatcher.deliveries.selection import Selection
from dispatcher.errors import AccountAtLimit, AtQuota
from dispatcher.ids import first_id_at
from dispatcher.settings import Settings
from dispatcher.settings.quotas import Limits, Quota
from tests.factories import TESTER, change, change_webhook, make_account, make_webhook, rows

AT_ONCE = 8


def limit(database: Engine, limits: Limits, name: str = "acme") -> None:
    with Session(database) as session, session.begin():
        set_limits(session, find_account(session, name), by=TESTER, new=limits)


def at_once(make: Callable[[int], object]) -> int:
    """How many of several who make one at the same moment can."""
    barrier = Barrier(AT_ONCE)

    def one(number: int) -> bool:
        barrier.wait()
        try:
            make(number)
        except AtQuota:
            return False
        return True

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return sum(threads.map(one, range(AT_ONCE)))


def make_key(database: Engine) -> None:
    with Session(database) as session, session.begin():
        create_key(session, by=TESTER, account="acme", scopes=[Scope.READ])


def test_of_many_webhooks_at_once_so_many_are_made_as_the_limit_allows(database: Engine, settings: Settings) -> None:
    make_account(database)
    limit(database, {Quota.WEBHOOKS: 3})
    made = at_once(lambda n: make_webhook(database, settings, url="https://example.com/", name=f"w{n}"))
    assert made == len(rows(database, "SELECT 1 FROM dispatcher.webhooks")) == 3


def test_of_many_keys_at_once_so_many_are_made_as_the_limit_allows(database: Engine) -> None:
    make_account(database)
    limit(database, {Quota.KEYS: 3})
    assert at_once(lambda _: make_key(database)) == len(rows(database, "SELECT 1 FROM dispatcher.api_keys")) == 3


def test_what_is_gone_makes_room(database: Engine, settings: Settings) -> None:
    made = make_webhook(database, settings, url="https://example.com/")
    limit(database, {Quota.WEBHOOKS: 1, Quota.KEYS: 2})
    with pytest.raises(AtQuota, match=r"may have 1 webhooks \(its limit `webhooks`\)"):
        make_webhook(database, settings, url="https://example.com/")
    change_webhook(database, settings, made, "delete")
    make_webhook(database, settings, url="https://example.com/")
    make_key(database)
    make_key(database)
    with pytest.raises(AtQuota, match=r"may have 2 API keys that are valid \(its limit `keys`\)"):
        make_key(database)
    with Session(database) as session, session.begin():
        (first, _), _ = keys_page(session, None, before=None, limit=2)
        revoke_key(session, first.id, by=TESTER)
    make_key(database)
    change(database, "UPDATE dispatcher.api_keys SET expires_at = now() - interval '1 second' WHERE revoked_at IS NULL")
    make_key(database)


def test_nobody_makes_and_deletes_webhooks_without_end(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.accounts.limits._LEAST_IN_A_DAY", 1)
    first = make_webhook(database, settings, url="https://example.com/")
    limit(database, {Quota.WEBHOOKS: 1})
    last = first
    for _ in range(9):
        change_webhook(database, settings, last, "delete")
        last = make_webhook(database, settings, url="https://example.com/")
    change_webhook(database, settings, last, "delete")
    with pytest.raises(AccountAtLimit, match=r"may make 10 webhooks in 24 hours, also by its limit `webhooks`"):
        make_webhook(database, settings, url="https://example.com/")
    make_webhook(database, settings, url="https://example.com/", account="globex")
    yesterday = first_id_at(datetime.now(UTC) - timedelta(hours=24, minutes=1))
    change(database, "UPDATE dispatcher.webhooks SET id = :id WHERE id = :first", id=yesterday, first=first.id)
    make_webhook(database, settings, url="https://example.com/")


def test_nor_does_anybody_order_and_cancel_redeliveries(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.accounts.limits._LEAST_IN_A_DAY", 1)
    make_account(database)
    limit(database, {Quota.BULK_REDELIVERIES: 1})
    with Session(database) as session, session.begin():
        account = find_account(session, "acme")
        for _ in range(100):
            cancel(session, account, order(session, account, Selection(), by=TESTER).id, by=TESTER)
        with pytest.raises(AccountAtLimit, match="may make 100 bulk redeliveries in 24 hours"):
            order(session, account, Selection(), by=TESTER)


def test_of_a_deleted_webhook_nothing_long_is_kept(database: Engine, settings: Settings) -> None:
    rules = {status: {"verdict": "temporary"} for status in range(200, 250)}
    types = [f"{one:0200}" for one in range(100)]
    webhook = make_webhook(database, settings, url="https://example.com/", event_types=types, contract={"rules": rules})
    size = "SELECT pg_column_size(w.*) AS size FROM dispatcher.webhooks w"
    assert rows(database, size)[0].size > 1_000
    change_webhook(database, settings, webhook, "delete")
    assert rows(database, size)[0].size < 500


def test_other_accounts_have_their_own(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="https://example.com/")
    limit(database, {Quota.WEBHOOKS: 1})
    make_webhook(database, settings, url="https://example.com/", account="globex")


def test_what_is_above_a_new_limit_stays_and_can_be_changed(database: Engine, settings: Settings) -> None:
    made = [make_webhook(database, settings, url="https://example.com/", name=name) for name in "ab"]
    limit(database, {Quota.WEBHOOKS: 1})
    change_webhook(database, settings, made[0], "disable")
    assert len(rows(database, "SELECT 1 FROM dispatcher.webhooks WHERE deleted_at IS NULL")) == 2


def test_limits_that_are_set_again_as_they_are_change_nothing(database: Engine) -> None:
    make_account(database)
    for _ in range(2):
        limit(database, {Quota.WEBHOOKS: 1, Quota.KEYS: None})
    with Session(database) as session, session.begin():
        account = find_account(session, "acme")
        assert own_limits(account) == {Quota.WEBHOOKS: 1, Quota.KEYS: None}
        set_limits(session, account, by=TESTER, changed={Quota.KEYS: 7}, dropped=frozenset({Quota.WEBHOOKS}))
    noted = rows(database, "SELECT detail FROM dispatcher.audit WHERE action = 'account.limits_changed' ORDER BY id")
    assert [row.detail["changed"] for row in noted] == [
        {"keys": {"old": "default", "new": "off"}, "webhooks": {"old": "default", "new": 1}},
        {"keys": {"old": "off", "new": 7}, "webhooks": {"old": 1, "new": "default"}},
    ]
