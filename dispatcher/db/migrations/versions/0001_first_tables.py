"""The first tables: accounts, keys, webhooks, events, deliveries, requests, attempts, notices."""

import sqlalchemy as sa
from alembic import op

from dispatcher.ids import new_id

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE dispatcher.installation (
    id UUID NOT NULL,
    digest_key BYTEA,
    CONSTRAINT installation_pkey PRIMARY KEY (id)
);

CREATE TABLE dispatcher.accounts (
    id UUID NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT accounts_pkey PRIMARY KEY (id),
    CONSTRAINT accounts_name_key UNIQUE (name)
);

CREATE TABLE dispatcher.api_keys (
    id UUID NOT NULL,
    account_id UUID,
    name TEXT,
    secret_sha256 BYTEA NOT NULL,
    scopes TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    last_used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_account_id_fkey FOREIGN KEY(account_id) REFERENCES dispatcher.accounts (id)
);
CREATE INDEX api_keys_account_id_idx ON dispatcher.api_keys (account_id);

CREATE TABLE dispatcher.webhooks (
    id UUID NOT NULL,
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    account_id UUID NOT NULL,
    app TEXT,
    name TEXT,
    url_masked TEXT NOT NULL,
    url_ciphertext BYTEA,
    url_digest BYTEA,
    event_types TEXT[] NOT NULL,
    contract JSONB NOT NULL,
    secrets_ciphertext BYTEA,
    contact_email TEXT,
    retry_span INTERVAL NOT NULL,
    enabled BOOLEAN NOT NULL,
    disabled_at TIMESTAMP WITH TIME ZONE,
    disabled_by TEXT,
    disabled_reason TEXT,
    version INTEGER DEFAULT 1 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT webhooks_pkey PRIMARY KEY (id),
    CONSTRAINT webhooks_number_key UNIQUE (number),
    CONSTRAINT webhooks_account_id_fkey FOREIGN KEY(account_id) REFERENCES dispatcher.accounts (id)
);
CREATE UNIQUE INDEX webhooks_account_id_name_key ON dispatcher.webhooks (account_id, name) WHERE deleted_at IS NULL;
CREATE INDEX webhooks_url_digest_idx ON dispatcher.webhooks (account_id, url_digest);

CREATE TABLE dispatcher.subscriptions (
    webhook_id UUID NOT NULL,
    event_type TEXT NOT NULL,
    account_id UUID NOT NULL,
    app TEXT,
    CONSTRAINT subscriptions_pkey PRIMARY KEY (webhook_id, event_type),
    CONSTRAINT subscriptions_webhook_id_fkey FOREIGN KEY(webhook_id) REFERENCES dispatcher.webhooks (id)
);
CREATE INDEX subscriptions_match_idx ON dispatcher.subscriptions (account_id, event_type);

CREATE TABLE dispatcher.events (
    id UUID NOT NULL,
    account_id UUID NOT NULL,
    app TEXT,
    type TEXT NOT NULL,
    subject TEXT,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    delivery_count INTEGER NOT NULL,
    codec SMALLINT DEFAULT 0 NOT NULL,
    data BYTEA NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX events_account_id_id_idx ON dispatcher.events (account_id, id);
CREATE INDEX events_subject_idx ON dispatcher.events (account_id, subject, id) WHERE subject IS NOT NULL;
CREATE INDEX events_unmatched_idx ON dispatcher.events (account_id, id) WHERE delivery_count = 0;

CREATE TABLE dispatcher.idempotency_keys (
    account_id UUID NOT NULL,
    key TEXT NOT NULL,
    event_id UUID NOT NULL,
    digest BYTEA NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (account_id, key)
);
CREATE INDEX idempotency_keys_expires_at_idx ON dispatcher.idempotency_keys (expires_at);

CREATE TABLE dispatcher.deliveries (
    id UUID NOT NULL,
    event_id UUID NOT NULL,
    webhook_id UUID NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    give_up_at TIMESTAMP WITH TIME ZONE NOT NULL,
    attempt_count INTEGER DEFAULT 0 NOT NULL,
    schedule_step INTEGER DEFAULT 0 NOT NULL,
    unknown_in_a_row SMALLINT DEFAULT 0 NOT NULL,
    claimed_by UUID,
    claimed_until TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT deliveries_pkey PRIMARY KEY (id),
    CONSTRAINT deliveries_event_id_webhook_id_key UNIQUE (event_id, webhook_id),
    CONSTRAINT deliveries_state_check CHECK (
        state IN ('ready', 'claimed', 'waiting', 'delivered', 'discarded', 'cancelled')
    ),
    CONSTRAINT deliveries_reason_check CHECK (
        reason IN ('rejected', 'exhausted', 'expired', 'webhook_disabled', 'webhook_deleted', 'render_failed')
    )
) WITH (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX deliveries_claimed_idx ON dispatcher.deliveries (claimed_until) WHERE state = 'claimed';
CREATE INDEX deliveries_ready_idx ON dispatcher.deliveries (webhook_id, due_at) WHERE state = 'ready';
CREATE INDEX deliveries_waiting_idx ON dispatcher.deliveries (due_at) WHERE state = 'waiting';
CREATE INDEX deliveries_webhook_id_id_idx ON dispatcher.deliveries (webhook_id, id);

CREATE TABLE dispatcher.requests (
    id UUID NOT NULL,
    webhook_id UUID NOT NULL,
    method TEXT NOT NULL,
    url_masked TEXT NOT NULL,
    headers_masked TEXT NOT NULL,
    status SMALLINT,
    failure TEXT,
    failure_detail TEXT,
    answer_headers TEXT,
    answer_excerpt BYTEA,
    answer_cut BOOLEAN NOT NULL,
    answer_unreadable BOOLEAN NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    duration INTERVAL NOT NULL,
    CONSTRAINT requests_pkey PRIMARY KEY (id)
) PARTITION BY RANGE (id);

CREATE TABLE dispatcher.attempts (
    delivery_id UUID NOT NULL,
    number INTEGER NOT NULL,
    id UUID NOT NULL,
    request_id UUID,
    verdict TEXT,
    outcome_unknown BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT attempts_pkey PRIMARY KEY (delivery_id, number, id)
) PARTITION BY RANGE (id);

CREATE TABLE dispatcher.notices (
    id UUID NOT NULL,
    webhook_id UUID NOT NULL,
    kind TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    delivery_id UUID NOT NULL,
    request_id UUID,
    retry_at TIMESTAMP WITH TIME ZONE,
    due_at TIMESTAMP WITH TIME ZONE,
    claimed_until TIMESTAMP WITH TIME ZONE,
    failed_sends INTEGER DEFAULT 0 NOT NULL,
    last_sent_at TIMESTAMP WITH TIME ZONE,
    sent_count INTEGER DEFAULT 0 NOT NULL,
    suppressed_count INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT notices_pkey PRIMARY KEY (id),
    CONSTRAINT notices_webhook_id_kind_fingerprint_key UNIQUE (webhook_id, kind, fingerprint),
    CONSTRAINT notices_webhook_id_fkey FOREIGN KEY(webhook_id) REFERENCES dispatcher.webhooks (id)
);
CREATE INDEX notices_due_idx ON dispatcher.notices (due_at) WHERE due_at IS NOT NULL;
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    installation = sa.table("installation", sa.column("id", sa.Uuid), schema="dispatcher")
    op.bulk_insert(installation, [{"id": new_id()}])
