"""Webhooks that are made through a vendor's dialect."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE dispatcher.webhooks
            ADD COLUMN dialect TEXT,
            ADD COLUMN dialect_fields JSONB DEFAULT '{}' NOT NULL
    """)
