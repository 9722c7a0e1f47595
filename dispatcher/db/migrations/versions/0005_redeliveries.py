"""Mass redeliveries, and an index of what ended without success."""

from alembic import op

revision = "0005"
down_revision = "0004"

CHANGES = """
CREATE TABLE dispatcher.redeliveries (
    id UUID NOT NULL,
    account_id UUID NOT NULL,
    webhook_id UUID,
    event_type TEXT,
    states TEXT[] NOT NULL,
    reason TEXT,
    since TIMESTAMP WITH TIME ZONE,
    until TIMESTAMP WITH TIME ZONE,
    per_second INTEGER NOT NULL,
    matched BIGINT NOT NULL,
    redelivered BIGINT DEFAULT 0 NOT NULL,
    webhook_reached UUID,
    delivery_reached UUID,
    used_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    cancelled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT redeliveries_pkey PRIMARY KEY (id),
    CONSTRAINT redeliveries_account_id_fkey FOREIGN KEY(account_id) REFERENCES dispatcher.accounts (id),
    CONSTRAINT redeliveries_webhook_id_fkey FOREIGN KEY(webhook_id) REFERENCES dispatcher.webhooks (id)
);
CREATE INDEX redeliveries_account_id_id_idx ON dispatcher.redeliveries (account_id, id);
CREATE INDEX redeliveries_open_idx ON dispatcher.redeliveries (id) WHERE finished_at IS NULL AND cancelled_at IS NULL;

CREATE INDEX deliveries_unsuccessful_idx ON dispatcher.deliveries (webhook_id, id)
    WHERE state IN ('discarded', 'cancelled');
"""


def upgrade() -> None:
    for statement in CHANGES.split(";\n"):
        if statement.strip():
            op.execute(statement)
