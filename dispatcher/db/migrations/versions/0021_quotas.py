"""What the events of each account take, counted by upkeep by the week; the index that finds accounts with limits of
their own. Online: as in 0010 and 0011. Versions from before know nothing of it, and need not."""

from contextlib import nullcontext

from alembic import context, op

revision = "0021"
down_revision = "0020"

COLUMNS = """
ALTER TABLE dispatcher.accounts ADD COLUMN IF NOT EXISTS stored_bytes BIGINT;
ALTER TABLE dispatcher.installation ADD COLUMN IF NOT EXISTS stored_to UUID,
    ADD COLUMN IF NOT EXISTS requests_stored_to UUID;
CREATE TABLE IF NOT EXISTS dispatcher.stored_events (
    account_id UUID NOT NULL,
    week INTEGER NOT NULL,
    events BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    CONSTRAINT stored_events_pkey PRIMARY KEY (account_id, week)
)
"""
INDEX = "accounts_limits_idx"
INDEXED = "dispatcher.accounts (number) WHERE limits IS NOT NULL"


def upgrade() -> None:
    in_use = context.config.attributes["in_use"]
    with op.get_context().autocommit_block() if in_use else nullcontext():
        for statement in COLUMNS.split(";\n"):
            op.execute(statement)
        if in_use:
            # Waiting for the transactions of others holds nobody up here, and giving up would leave an invalid index.
            op.execute("SET lock_timeout = 0")
        concurrently = "CONCURRENTLY" if in_use else ""
        op.execute(f"DROP INDEX {concurrently} IF EXISTS dispatcher.{INDEX}")  # an invalid one, of a stopped attempt
        op.execute(f"CREATE INDEX {concurrently} {INDEX} ON {INDEXED}")
