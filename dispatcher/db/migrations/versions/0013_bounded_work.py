"""What keeps work on very many rows in small steps: how far a bulk redelivery has been counted. Online: as in 0010."""

from contextlib import nullcontext

from alembic import context, op

revision = "0013"
down_revision = "0012"

# An order of an older version has been counted whole.
COLUMNS = """
ALTER TABLE dispatcher.redeliveries
    ADD COLUMN IF NOT EXISTS counting BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS webhook_counted UUID,
    ADD COLUMN IF NOT EXISTS delivery_counted UUID
"""


def upgrade() -> None:
    with op.get_context().autocommit_block() if context.config.attributes["in_use"] else nullcontext():
        op.execute(COLUMNS)
