"""What fair claims by account, poisoned rows, tracing and the history of requests write. Online: only columns are
added, each table on its own, so that no writer waits for two locks. Versions from 0.2.0 on go on beside it."""

from contextlib import nullcontext

from alembic import context, op

revision = "0010"
down_revision = "0009"

CHANGES = """
ALTER TABLE dispatcher.accounts
    ADD COLUMN IF NOT EXISTS number INTEGER GENERATED ALWAYS AS IDENTITY UNIQUE,
    ADD COLUMN IF NOT EXISTS limits JSONB,
    ADD COLUMN IF NOT EXISTS suspended_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN IF NOT EXISTS deleted_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE dispatcher.webhooks
    ADD COLUMN IF NOT EXISTS account_no INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS destination BIGINT,
    ADD COLUMN IF NOT EXISTS destination_of BYTEA,
    ADD COLUMN IF NOT EXISTS format SMALLINT NOT NULL DEFAULT 1,
    ADD COLUMN IF NOT EXISTS quarantined_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN IF NOT EXISTS quarantined_reason TEXT;
ALTER TABLE dispatcher.notices
    ADD COLUMN IF NOT EXISTS quarantined_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN IF NOT EXISTS quarantined_reason TEXT;
ALTER TABLE dispatcher.events ADD COLUMN IF NOT EXISTS traceparent TEXT;
ALTER TABLE dispatcher.deliveries
    ADD COLUMN IF NOT EXISTS account_no INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS size INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS deaths SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE dispatcher.requests
    ADD COLUMN IF NOT EXISTS verdict TEXT,
    ADD COLUMN IF NOT EXISTS messages SMALLINT,
    ADD COLUMN IF NOT EXISTS replaces UUID;
"""


def upgrade() -> None:
    with op.get_context().autocommit_block() if context.config.attributes["in_use"] else nullcontext():
        for statement in CHANGES.split(";\n"):
            if statement.strip():
                op.execute(statement)
