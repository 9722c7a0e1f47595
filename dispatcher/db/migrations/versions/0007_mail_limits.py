"""Mails to each contact are counted, and notices that are above the limits held back."""

from alembic import op

revision = "0007"
down_revision = "0006"

CONTACTS = """
CREATE TABLE dispatcher.contacts (
    mailbox TEXT NOT NULL,
    sent_at TIMESTAMP WITH TIME ZONE[] DEFAULT '{}' NOT NULL,
    outdated INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT contacts_pkey PRIMARY KEY (mailbox)
)
"""


def upgrade() -> None:
    op.execute(CONTACTS)
    op.execute("ALTER TABLE dispatcher.notices ADD COLUMN held_for TEXT")
    op.execute("CREATE INDEX notices_held_for_idx ON dispatcher.notices (held_for) WHERE held_for IS NOT NULL")
