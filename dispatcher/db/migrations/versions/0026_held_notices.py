"""The index that counts an account's notices that are held back, without reading those of others with the same mailbox.

Few notices are held back, and an update of the others pays nothing for it: both columns are in indexes already.
"""

from alembic import context, op

revision = "0026"
down_revision = "0025"

_NAME = "notices_webhook_id_held_for_idx"
_COLUMNS = "dispatcher.notices (webhook_id, held_for) WHERE held_for IS NOT NULL"


def upgrade() -> None:
    if not context.config.attributes["in_use"]:
        op.execute(f"CREATE INDEX {_NAME} ON {_COLUMNS}")
        return
    with op.get_context().autocommit_block():
        # Waiting for the transactions of others holds nobody up here, and giving up would leave an invalid index.
        op.execute("SET lock_timeout = 0")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS dispatcher.{_NAME}")  # an invalid one, of a stopped attempt
        op.execute(f"CREATE INDEX CONCURRENTLY {_NAME} ON {_COLUMNS}")
