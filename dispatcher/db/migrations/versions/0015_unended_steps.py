"""Bulk redeliveries: the steps that began and did not end, so that one which kills its worker ends."""

from alembic import op

revision = "0015"
down_revision = "0014"

COLUMN = "ALTER TABLE dispatcher.redeliveries ADD COLUMN IF NOT EXISTS unended_steps SMALLINT NOT NULL DEFAULT 0"


def upgrade() -> None:
    op.execute(COLUMN)
