"""What keeps work on very many rows in small steps: how far a bulk redelivery has been counted; what waits for a retry,
by webhook; subscriptions by app. Online: as in 0010 and 0011."""

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
INDEXES = {
    "deliveries_waiting_of_webhook_idx": "dispatcher.deliveries (webhook_id, due_at) WHERE state = 'waiting'",
    "subscriptions_matching_idx": "dispatcher.subscriptions (account_id, event_type, app)",
}
REPLACED = "subscriptions_match_idx"  # by the one that begins with the same columns


def upgrade() -> None:
    in_use = context.config.attributes["in_use"]
    with op.get_context().autocommit_block() if in_use else nullcontext():
        op.execute(COLUMNS)
        if in_use:
            # Waiting for the transactions of others holds nobody up here, and giving up would leave an invalid index.
            op.execute("SET lock_timeout = 0")
        concurrently = "CONCURRENTLY" if in_use else ""
        for name, columns in INDEXES.items():
            op.execute(f"DROP INDEX {concurrently} IF EXISTS dispatcher.{name}")  # an invalid one, of a stopped attempt
            op.execute(f"CREATE INDEX {concurrently} {name} ON {columns}")
        op.execute(f"DROP INDEX {concurrently} IF EXISTS dispatcher.{REPLACED}")
