"""Batches, gates and rate limits; retries no longer stand in the way of first attempts in the index of claims."""

from alembic import op

revision = "0002"
down_revision = "0001"

CHANGES = """
ALTER TABLE dispatcher.webhooks
    ADD COLUMN batch_size SMALLINT DEFAULT 1 NOT NULL,
    ADD COLUMN rate_limit DOUBLE PRECISION;

ALTER TABLE dispatcher.deliveries
    ADD COLUMN is_retry BOOLEAN GENERATED ALWAYS AS (schedule_step > 0) STORED NOT NULL,
    ADD COLUMN batch_limit SMALLINT,
    ADD COLUMN passes_gate BOOLEAN DEFAULT false NOT NULL;
DROP INDEX dispatcher.deliveries_ready_idx;
CREATE INDEX deliveries_ready_idx ON dispatcher.deliveries (webhook_id, is_retry, due_at) WHERE state = 'ready';
CREATE INDEX deliveries_passing_idx ON dispatcher.deliveries (webhook_id, due_at) WHERE state = 'ready' AND passes_gate;

CREATE TABLE dispatcher.gates (
    webhook_id UUID NOT NULL,
    failures INTEGER NOT NULL,
    failing_since TIMESTAMP WITH TIME ZONE NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    probes INTEGER DEFAULT 0 NOT NULL,
    probe_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT gates_pkey PRIMARY KEY (webhook_id),
    CONSTRAINT gates_webhook_id_fkey FOREIGN KEY(webhook_id) REFERENCES dispatcher.webhooks (id)
);
CREATE INDEX gates_probe_at_idx ON dispatcher.gates (probe_at) WHERE closed_at IS NOT NULL;

CREATE TABLE dispatcher.rates (
    webhook_id UUID NOT NULL,
    used_until TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT rates_pkey PRIMARY KEY (webhook_id),
    CONSTRAINT rates_webhook_id_fkey FOREIGN KEY(webhook_id) REFERENCES dispatcher.webhooks (id)
);
"""


def upgrade() -> None:
    for statement in CHANGES.split(";\n"):
        if statement.strip():
            op.execute(statement)
