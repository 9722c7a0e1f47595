"""What finds the deliveries that had to do with the death of several workers. Online: as in 0010 and 0011."""

from contextlib import nullcontext

from alembic import context, op

revision = "0014"
down_revision = "0013"

INDEX = "deliveries_suspects_idx"
COLUMNS = "dispatcher.deliveries (due_at) WHERE state = 'ready' AND deaths >= 2"


def upgrade() -> None:
    in_use = context.config.attributes["in_use"]
    with op.get_context().autocommit_block() if in_use else nullcontext():
        if in_use:
            # Waiting for the transactions of others holds nobody up here, and giving up would leave an invalid index.
            op.execute("SET lock_timeout = 0")
        concurrently = "CONCURRENTLY" if in_use else ""
        op.execute(f"DROP INDEX {concurrently} IF EXISTS dispatcher.{INDEX}")  # an invalid one, of a stopped attempt
        op.execute(f"CREATE INDEX {concurrently} {INDEX} ON {COLUMNS}")
