"""What those whom mails go to have said, and the limits on the mails of an account and of the installation.

Each contact that exists counts as confirmed: it got all mails until now, and from now on each mail says how to end
them. Versions before this one know nothing of it. A contact that they enter while both run is not confirmed.
"""

import re

from alembic import context, op
from sqlalchemy import text

revision = "0020"
down_revision = "0019"

RECIPIENTS = """
CREATE TABLE IF NOT EXISTS dispatcher.recipients (
    id UUID NOT NULL,
    account_id UUID NOT NULL,
    address TEXT NOT NULL,
    mailbox TEXT NOT NULL,
    confirmed_at TIMESTAMP WITH TIME ZONE,
    confirmed_by TEXT,
    unsubscribed_at TIMESTAMP WITH TIME ZONE,
    unsubscribed_by TEXT,
    sent_count INTEGER DEFAULT 0 NOT NULL,
    last_sent_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT recipients_pkey PRIMARY KEY (id),
    CONSTRAINT recipients_account_id_address_key UNIQUE (account_id, address)
)
"""
INDEXES = (
    "CREATE INDEX IF NOT EXISTS recipients_account_id_id_idx ON dispatcher.recipients (account_id, id)",
    "CREATE INDEX IF NOT EXISTS recipients_account_id_mailbox_idx ON dispatcher.recipients (account_id, mailbox)",
)
CONTACTS = """
ALTER TABLE dispatcher.contacts
    ADD COLUMN IF NOT EXISTS unconfirmed_sent_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN IF NOT EXISTS declined_at TIMESTAMP WITH TIME ZONE
"""
BUDGETS = """
CREATE TABLE IF NOT EXISTS dispatcher.mail_budgets (
    owner UUID NOT NULL,
    sent_at TIMESTAMP WITH TIME ZONE[] DEFAULT '{}' NOT NULL,
    unconfirmed_sent_at TIMESTAMP WITH TIME ZONE[] DEFAULT '{}' NOT NULL,
    CONSTRAINT mail_budgets_pkey PRIMARY KEY (owner)
)
"""

# In the order of the ids, each piece once.
NAMED = text("""
SELECT id, account_id, lower(contact_email) AS address FROM dispatcher.webhooks
WHERE contact_email IS NOT NULL AND deleted_at IS NULL AND id > :after ORDER BY id LIMIT 5000
""")
CONFIRM = text("""
INSERT INTO dispatcher.recipients (id, account_id, address, mailbox, confirmed_at, confirmed_by)
SELECT gen_random_uuid(), account_id, address, mailbox, now(), 'upgrade'
FROM unnest(CAST(:accounts AS uuid[]), CAST(:addresses AS text[]), CAST(:mailboxes AS text[]))
     AS n(account_id, address, mailbox)
ON CONFLICT (account_id, address) DO NOTHING
""")


def upgrade() -> None:
    op.execute(RECIPIENTS)
    for index in INDEXES:
        op.execute(index)
    op.execute(CONTACTS)
    op.execute(BUDGETS)
    if context.config.attributes["in_use"]:
        with op.get_context().autocommit_block():  # the tables are not kept locked meanwhile
            _confirm_those_who_are()


def _confirm_those_who_are() -> None:
    connection, after = op.get_bind(), "00000000-0000-0000-0000-000000000000"
    while rows := connection.execute(NAMED, {"after": after}).all():
        found = sorted({(str(row.account_id), row.address) for row in rows})
        given = {
            "accounts": [account for account, _ in found],
            "addresses": [address for _, address in found],
            "mailboxes": [_mailbox(address) for _, address in found],
        }
        connection.execute(CONFIRM, given)
        after = rows[-1].id


def _mailbox(address: str) -> str:
    """As `schedules.mail_limits.mailbox` did it at this revision."""
    local, _, domain = address.casefold().rpartition("@")
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    local, domain = local.partition("+")[0] or local, domain.rstrip(".")
    if domain in {"gmail.com", "googlemail.com"}:
        local, domain = local.replace(".", ""), "gmail.com"
    return f"{local}@{domain}"
