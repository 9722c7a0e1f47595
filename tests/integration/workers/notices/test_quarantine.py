"""A notice that cannot be read, or of which no mail can be made, stops no other mail."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from dispatcher.settings import Settings
from tests.factories import change, rows
from tests.integration.workers.notices.conftest import mailer_for
from tests.integration.workers.notices.scenario import fail, notices, pass_time, webhook_with_contact
from tests.mail_server import MailServer
from workers.notices.mailer import Mailer
from workers.notices.send import send_due

ODD = {
    "kind": "kind = 'carrier_pigeon'",
    "mail": f"fingerprint = 'http_{'9' * 5_000}'",
    "number": "suppressed_count = -2147483648, sent_count = 2147483647, failed_sends = 2147483647",
}


def test_what_cannot_be_mailed_is_quarantined_alone(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhooks = {name: webhook_with_contact(database, settings, name=name) for name in (*ODD, "good")}
    for name, webhook in webhooks.items():
        fail(database, webhook)
        change(
            database,
            f"UPDATE dispatcher.notices SET {ODD.get(name, 'kind = kind')} WHERE webhook_id = :id",
            id=webhook.id,
        )
    change(
        database,
        "UPDATE dispatcher.notices SET due_at = now() - interval '1 hour' WHERE webhook_id <> :id",
        id=webhooks["good"].id,
    )

    tally = send_due(database, mailer)
    assert (tally["sent"], tally["quarantined"]) == (2, 2), "the one with odd numbers can be sent"
    assert len(mail_server.messages) == 2
    found = {row.webhook_id: row for row in notices(database)}
    kind, mail, good = (found[webhooks[name].id] for name in ("kind", "mail", "good"))
    assert (kind.quarantined_reason, kind.due_at, kind.claimed_until) == ("its kind is unknown", None, None)
    assert mail.quarantined_reason == "no mail can be made of it (ValueError)"
    assert mail.quarantined_at is not None
    assert (good.quarantined_at, good.sent_count) == (None, 1)
    assert send_due(database, mailer)["quarantined"] == 0, "it is not looked at again"


def test_what_is_quarantined_takes_no_turn_of_its_contact(
    database: Engine, settings: Settings, mail_server: MailServer
) -> None:
    for name in ODD:
        fail(database, webhook_with_contact(database, settings, name=name))
        change(
            database,
            "UPDATE dispatcher.notices SET kind = 'carrier_pigeon' WHERE kind <> 'carrier_pigeon'",
        )
    fail(database, webhook_with_contact(database, settings, name="good"))
    tally = send_due(database, mailer_for(settings, mail_server.port, mails_per_contact_hour=1))
    assert (tally["quarantined"], tally["sent"], tally["held_back"]) == (len(ODD), 1, 0)


def test_a_right_that_is_missing_for_a_while_puts_no_notice_aside(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    fail(database, webhook_with_contact(database, settings, name="good"))
    change(database, "REVOKE SELECT ON dispatcher.deliveries FROM CURRENT_USER")
    try:
        with pytest.raises(ProgrammingError, match="permission denied for table deliveries"):
            send_due(database, mailer)
    finally:
        change(database, "GRANT SELECT ON dispatcher.deliveries TO CURRENT_USER")
    tally = send_due(database, mailer)
    assert (tally["sent"], tally["quarantined"], len(mail_server.messages)) == (1, 0, 1)


def test_it_is_taken_up_again_when_its_error_is_seen_a_day_later(
    database: Engine, settings: Settings, mail_server: MailServer, mailer: Mailer
) -> None:
    webhook = webhook_with_contact(database, settings, name=None)
    fail(database, webhook)
    change(database, "UPDATE dispatcher.requests SET url_masked = 'http://['")
    assert send_due(database, mailer)["quarantined"] == 1
    assert fail(database, webhook) == 0, "its quiet period is open"
    pass_time(database, "25 hours")
    assert fail(database, webhook) == 1
    assert send_due(database, mailer)["sent"] == 1
    assert rows(database, "SELECT 1 FROM dispatcher.notices WHERE quarantined_at IS NOT NULL") == []


def test_an_error_counts_on_however_often_it_was_counted(database: Engine, settings: Settings) -> None:
    webhook = webhook_with_contact(database, settings)
    fail(database, webhook)
    change(database, "UPDATE dispatcher.notices SET suppressed_count = 2147483647")
    fail(database, webhook)
