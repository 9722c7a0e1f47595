"""The index that fair claims go along. Made beside running processes; the one before it stays for versions that use
it."""

from alembic import context, op

revision = "0011"
down_revision = "0010"

INDEX = "deliveries_fair_idx"
COLUMNS = "dispatcher.deliveries (account_no, webhook_id, is_retry, due_at) WHERE state = 'ready'"


def upgrade() -> None:
    if not context.config.attributes["in_use"]:
        op.execute(f"CREATE INDEX {INDEX} ON {COLUMNS}")
        return
    with op.get_context().autocommit_block():
        # Waiting for the transactions of others holds nobody up here, and giving up would leave an invalid index.
        op.execute("SET lock_timeout = 0")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS dispatcher.{INDEX}")  # an invalid one, of a stopped attempt
        op.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON {COLUMNS}")
