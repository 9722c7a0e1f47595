"""Tokens that are fetched for webhooks with OAuth2 client credentials."""

from alembic import op

revision = "0004"
down_revision = "0003"

TOKENS = """
CREATE TABLE dispatcher.tokens (
    webhook_id UUID NOT NULL,
    credentials BYTEA NOT NULL,
    fetch_id UUID NOT NULL,
    next_fetch_at TIMESTAMP WITH TIME ZONE NOT NULL,
    token_ciphertext BYTEA,
    expires_at TIMESTAMP WITH TIME ZONE,
    after_refusal BOOLEAN DEFAULT false NOT NULL,
    CONSTRAINT tokens_pkey PRIMARY KEY (webhook_id),
    CONSTRAINT tokens_webhook_id_fkey FOREIGN KEY(webhook_id) REFERENCES dispatcher.webhooks (id)
)
"""


def upgrade() -> None:
    op.execute(TOKENS)
