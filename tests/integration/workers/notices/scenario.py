"""Errors of a webhook as the deliver loop leaves them in the database, and the notices that come of them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row, text

from dispatcher.db.models import Webhook
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from dispatcher.webhooks.notices import NoticeKind
from tests.factories import change, make_webhook, rows
from workers.notices.mailer import Mailer
from workers.notices.observe import Observation, observe

CONTACT = "ops@acme.test"
_ERROR = text("""
WITH event AS (
  INSERT INTO dispatcher.events (id, account_id, type, subject, occurred_at, delivery_count, data)
  VALUES (:event_id, :account_id, 'message.inbound.received', 'msg-17', now(), 1, '{"body": "PAYLOAD"}')),
delivery AS (
  INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, reason, due_at, give_up_at, attempt_count)
  VALUES (:delivery_id, :event_id, :webhook_id, :state, :reason, now() + interval '90 seconds', now() + '2 days', 7)),
request AS (
  INSERT INTO dispatcher.requests (id, webhook_id, method, url_masked, headers_masked, status, answer_excerpt,
    answer_cut, answer_unreadable, started_at, duration)
  VALUES (:request_id, :webhook_id, 'POST', :url, :headers, :status, :answer, :cut, :unreadable, now(), '1 second'))
INSERT INTO dispatcher.attempts (delivery_id, number, id, request_id, verdict)
VALUES (:delivery_id, 7, :attempt_id, :request_id, 'temporary')
""")


def webhook_with_contact(database: Engine, settings: Settings, **fields: Any) -> Webhook:
    wanted = {"url": "https://hooks.acme.test/sms?secret=s3cret", "name": "Orders", "contact_email": CONTACT, **fields}
    return make_webhook(database, settings, **wanted)


def error(
    database: Engine,
    webhook: Webhook,
    *,
    kind: NoticeKind = NoticeKind.MESSAGE_RETRYING,
    status: int = 503,
    answer: bytes = b"Busy",
    unreadable: bool = False,
    cut: bool = False,
    batch: bool = False,
) -> Observation:
    """One failed attempt, its rows written, not yet observed."""
    retrying = kind is NoticeKind.MESSAGE_RETRYING
    delivery_id, request_id = new_id(), new_id()
    with database.begin() as connection:
        connection.execute(
            _ERROR,
            {
                "event_id": new_id(),
                "account_id": webhook.account_id,
                "delivery_id": delivery_id,
                "webhook_id": webhook.id,
                "state": "waiting" if retrying else "discarded",
                "reason": None if retrying else "rejected",
                "request_id": request_id,
                "url": webhook.url_masked,
                "status": status,
                "answer": answer,
                "unreadable": unreadable,
                "cut": cut,
                "headers": "User-Agent: us\nDispatcher-Batch-Size: 2" if batch else "User-Agent: us",
                "attempt_id": new_id(),
            },
        )
    return Observation(
        webhook_id=str(webhook.id),
        kind=kind,
        fingerprint=f"http_{status}",
        delivery_id=delivery_id,
        request_id=request_id,
        retry_delay=timedelta(seconds=90) if retrying else None,
        has_contact=webhook.contact_email is not None,
    )


def seen(database: Engine, *observations: Observation) -> int:
    """Observes them as one group, committed; what others have locked at that moment, again and again until it is
    free."""
    mails_due, left = 0, list(observations)
    while left:
        with database.begin() as connection:
            observed = observe(connection, left)
        mails_due, left = mails_due + observed.mails_due, list(observed.locked)
    return mails_due


def fail(database: Engine, webhook: Webhook, **details: Any) -> int:
    """One error, observed."""
    return seen(database, error(database, webhook, **details))


def notices(database: Engine, webhook_id: UUID | None = None) -> list[Row[Any]]:
    return rows(
        database,
        "SELECT *, now() AS now FROM dispatcher.notices WHERE CAST(:id AS uuid) IS NULL OR webhook_id = :id"
        " ORDER BY webhook_id, kind, fingerprint",
        id=webhook_id,
    )


def the_notice(database: Engine) -> Row[Any]:
    (only,) = notices(database)
    return only


def pass_time(database: Engine, interval: str) -> None:
    """Moves all that the notices know of time into the past."""
    change(
        database,
        "UPDATE dispatcher.notices SET observed_at = observed_at - CAST(:by AS interval),"
        " retry_at = retry_at - CAST(:by AS interval), due_at = due_at - CAST(:by AS interval),"
        " claimed_until = claimed_until - CAST(:by AS interval), last_sent_at = last_sent_at - CAST(:by AS interval)",
        by=interval,
    )
    change(
        database,
        "UPDATE dispatcher.contacts SET unconfirmed_sent_at = unconfirmed_sent_at - CAST(:by AS interval)",
        by=interval,
    )
    for table, times in (("contacts", "sent_at"), ("mail_budgets", "sent_at"), ("mail_budgets", "unconfirmed_sent_at")):
        change(
            database,
            f"UPDATE dispatcher.{table} SET {times} ="
            f" ARRAY(SELECT moment - CAST(:by AS interval) FROM unnest({times}) AS moment)",
            by=interval,
        )


class Crash(Exception):
    """Stands for the end of a worker."""


class CrashingMailer(Mailer):
    """Its worker dies when a mail is about to be sent."""

    def send(self, message: object) -> object:  # type: ignore[override]
        raise Crash
