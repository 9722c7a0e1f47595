"""Errors become at most one due mail per webhook, kind and fingerprint in 24 hours; the rest is counted."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from dispatcher.settings import Settings
from dispatcher.webhooks.notices import NoticeKind
from schedules.quiet_period import QUIET_PERIOD
from tests.integration.workers.notices.scenario import (
    error,
    fail,
    notices,
    pass_time,
    seen,
    the_notice,
    webhook_with_contact,
)
from workers.notices.observe import observe

TICK = timedelta(microseconds=1)


def test_the_first_error_makes_a_mail_due_that_reports_it(database: Engine, settings: Settings) -> None:
    webhook = webhook_with_contact(database, settings)
    first = error(database, webhook)
    assert seen(database, first) == 1
    notice = the_notice(database)
    assert (notice.webhook_id, notice.kind, notice.fingerprint) == (webhook.id, "message_retrying", "http_503")
    assert (notice.delivery_id, notice.request_id) == (first.delivery_id, first.request_id)
    assert notice.retry_at - notice.observed_at == timedelta(seconds=90)
    assert notice.due_at == notice.observed_at
    assert notice.suppressed_count == 0
    assert notice.id.version == 7


def test_nothing_observed_makes_nothing_due(database: Engine) -> None:
    assert seen(database) == 0


def test_of_a_group_the_first_makes_the_mail_due_and_the_others_are_counted(
    database: Engine, settings: Settings
) -> None:
    webhook = webhook_with_contact(database, settings)
    group = [error(database, webhook) for _ in range(5)]
    assert seen(database, *group) == 1
    assert the_notice(database).delivery_id == group[0].delivery_id
    assert the_notice(database).suppressed_count == 4


def test_while_a_mail_is_due_the_same_error_is_counted_only(database: Engine, settings: Settings) -> None:
    webhook = webhook_with_contact(database, settings)
    first = error(database, webhook)
    seen(database, first)
    before = the_notice(database)
    again = error(database, webhook)
    assert seen(database, again, again, again) == 0
    after = the_notice(database)
    assert after.suppressed_count == 3
    assert (after.due_at, after.delivery_id) == (before.due_at, first.delivery_id)


@pytest.mark.parametrize(("ago", "due"), [("1 second", 0), ("23 hours 59 minutes", 0), ("24 hours", 1), ("30 days", 1)])
def test_a_mail_is_due_again_24_hours_after_the_last(database: Engine, settings: Settings, ago: str, due: int) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE dispatcher.notices SET due_at = NULL, last_sent_at = now()")
    pass_time(database, ago)
    second = error(database, webhook)
    assert seen(database, second, second) == due
    notice = the_notice(database)
    assert notice.suppressed_count == 2 - due
    assert (notice.due_at is not None) == bool(due)
    assert (notice.delivery_id == second.delivery_id) == bool(due)


@pytest.mark.parametrize(
    ("age", "due"), [(timedelta(0), 0), (QUIET_PERIOD - TICK, 0), (QUIET_PERIOD, 1), (QUIET_PERIOD + TICK, 1)], ids=str
)
def test_the_window_of_a_mail_ends_to_the_moment(
    database: Engine, settings: Settings, age: timedelta, due: int
) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    second = error(database, webhook)
    with database.begin() as connection:  # in one transaction now() stands still
        connection.execute(
            text("UPDATE dispatcher.notices SET due_at = NULL, last_sent_at = now() - :age"), {"age": age}
        )
        assert observe(connection, [second]).mails_due == due
    assert (the_notice(database).due_at is not None) == bool(due)


def test_webhooks_kinds_and_fingerprints_are_distinguished(database: Engine, settings: Settings) -> None:
    one = webhook_with_contact(database, settings)
    other = webhook_with_contact(database, settings, name="Other")
    group = [
        error(database, one, status=503),
        error(database, one, status=502),
        error(database, one, status=503, kind=NoticeKind.MESSAGE_DISCARDED),
        error(database, other, status=503),
        error(database, one, status=503),
    ]
    assert seen(database, *group) == 4
    assert [notice.suppressed_count for notice in notices(database)] == [0, 0, 1, 0]


def test_without_a_contact_errors_are_counted_only(database: Engine, settings: Settings) -> None:
    webhook = webhook_with_contact(database, settings, contact_email=None)
    one = error(database, webhook)
    assert seen(database, one, one) == 0
    assert seen(database, one) == 0
    notice = the_notice(database)
    assert (notice.due_at, notice.suppressed_count) == (None, 3)


def test_a_contact_that_was_added_later_is_notified_of_the_next_error(database: Engine, settings: Settings) -> None:
    webhook = webhook_with_contact(database, settings, contact_email=None)
    one = error(database, webhook)
    seen(database, one, one)
    later = replace(error(database, webhook), has_contact=True)
    # The group was delivered while the contact was being added: some of it knows, some does not.
    assert seen(database, one, later) == 1
    notice = the_notice(database)
    assert notice.delivery_id == later.delivery_id
    assert notice.suppressed_count == 3


def test_what_is_rolled_back_was_never_observed(database: Engine, settings: Settings) -> None:
    webhook = webhook_with_contact(database, settings)
    one = error(database, webhook)
    with database.connect() as connection, connection.begin() as transaction:
        assert observe(connection, [one]).mails_due == 1
        transaction.rollback()
    assert notices(database) == []


def test_workers_that_observe_the_same_errors_at_once_lose_none_and_owe_one_mail_each(
    database: Engine, settings: Settings
) -> None:
    webhooks = [webhook_with_contact(database, settings, name=f"Hook {number}") for number in range(10)]
    errors = [error(database, webhook, status=status) for webhook in webhooks for status in (500, 502, 503)]

    def observe_all(seed: int) -> int:
        order = random.Random(seed)
        return sum(seen(database, *order.sample(errors, len(errors))) for _ in range(20))

    with ThreadPoolExecutor(4) as workers:
        due = sum(workers.map(observe_all, range(4)))
    assert due == len(errors)
    assert [notice.suppressed_count for notice in notices(database)] == [4 * 20 - 1] * len(errors)
