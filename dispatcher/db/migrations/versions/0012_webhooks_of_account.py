"""The index that an account's webhooks are listed and walked through by, however many it has, and others have."""

from alembic import context, op

revision = "0012"
down_revision = "0011"

INDEX = "webhooks_account_id_id_idx"
COLUMNS = "dispatcher.webhooks (account_id, id)"


def upgrade() -> None:
    if not context.config.attributes["in_use"]:
        op.execute(f"CREATE INDEX {INDEX} ON {COLUMNS}")
        return
    with op.get_context().autocommit_block():
        # Waiting for the transactions of others holds nobody up here, and giving up would leave an invalid index.
        op.execute("SET lock_timeout = 0")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS dispatcher.{INDEX}")  # an invalid one, of a stopped attempt
        op.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON {COLUMNS}")
