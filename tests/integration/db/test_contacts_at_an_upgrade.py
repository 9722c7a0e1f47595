"""Whoever got mails before the upgrade gets them after it, until they say otherwise."""

from sqlalchemy import text

from dispatcher.db.migrate import upgrade
from dispatcher.settings import Settings
from schedules.mail_limits import mailbox
from tests.factories import change, rows
from tests.integration.db.databases import database_at
from tests.integration.db.test_default_partitions import make_defaults

CONTACTS = ("Ops@Acme.test", "ops@acme.test", "o.p.s+1@gmail.com", '"a b"@acme.test', "ops@corp.local")
_ACCOUNTS = """
INSERT INTO dispatcher.accounts (id, name) SELECT gen_random_uuid(), name FROM unnest(ARRAY['one', 'two']) AS name
"""
_WEBHOOK = """
INSERT INTO dispatcher.webhooks
  (id, account_id, url_masked, url_digest, event_types, contract, retry_span, enabled, contact_email, deleted_at)
SELECT gen_random_uuid(), id, '-', 'digest', '{a}', '{}', '2 days', true, :contact, CAST(:deleted_at AS timestamptz)
FROM dispatcher.accounts
"""


def test_contacts_of_webhooks_count_as_confirmed(settings: Settings) -> None:
    server = settings.database_url.get_secret_value()
    with database_at("0019", server, "with_contacts") as (older, url):
        make_defaults(older)
        change(older, _ACCOUNTS)
        for contact in (*CONTACTS, None):
            change(older, _WEBHOOK, contact=contact, deleted_at=None)
        change(older, _WEBHOOK, contact="gone@acme.test", deleted_at="2026-01-01Z")
        for _ in range(2):  # as if it had been stopped before its end
            upgrade(url)
            with older.begin() as connection:
                connection.execute(text("UPDATE dispatcher.migrations SET version_num = '0019'"))
        found = rows(older, "SELECT * FROM dispatcher.recipients")
    assert len(found) == 2 * len({contact.lower() for contact in CONTACTS})
    assert {row.address for row in found} == {contact.lower() for contact in CONTACTS}
    assert {(row.confirmed_at is not None, row.confirmed_by, row.unsubscribed_at) for row in found} == {
        (True, "upgrade", None)
    }
    assert all(row.mailbox == mailbox(row.address) for row in found)
