"""The index that finds the retries of each account that are due, so that accounts take turns when many are due at once.

Older versions go on with the one by the time alone, which also says how late the oldest is.
"""

from alembic import context, op

revision = "0027"
down_revision = "0026"

_NAME = "deliveries_waiting_of_account_idx"
_COLUMNS = "dispatcher.deliveries (account_no, due_at) WHERE state = 'waiting'"


def upgrade() -> None:
    if not context.config.attributes["in_use"]:
        op.execute(f"CREATE INDEX {_NAME} ON {_COLUMNS}")
        return
    with op.get_context().autocommit_block():
        # Waiting for the transactions of others holds nobody up here, and giving up would leave an invalid index.
        op.execute("SET lock_timeout = 0")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS dispatcher.{_NAME}")  # an invalid one, of a stopped attempt
        op.execute(f"CREATE INDEX CONCURRENTLY {_NAME} ON {_COLUMNS}")
