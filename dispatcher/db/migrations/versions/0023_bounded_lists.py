"""The indexes that lists go along, so that a page costs the same however much an account has. Each is of a small table,
or of few rows of a large one: what comes in and goes out pays nothing for them."""

from alembic import context, op

revision = "0023"
down_revision = "0022"

_KEPT = "WHERE deleted_at IS NULL"
INDEXES = {
    # A delivery is discarded seldom, and once.
    "deliveries_reason_idx": "dispatcher.deliveries (webhook_id, reason, id) WHERE state = 'discarded'",
    "notices_webhook_id_id_idx": "dispatcher.notices (webhook_id, id)",
    "webhooks_listed_idx": f"dispatcher.webhooks (account_id, id) {_KEPT}",
    "webhooks_dialect_idx": f"dispatcher.webhooks (account_id, dialect, id) {_KEPT} AND dialect IS NOT NULL",
    "webhooks_contact_idx": f"dispatcher.webhooks (account_id, lower(contact_email)) {_KEPT}",
    "webhooks_app_idx": f"dispatcher.webhooks (account_id, app, id) {_KEPT} AND app IS NOT NULL",
    "api_keys_account_id_id_idx": "dispatcher.api_keys (account_id, id)",
}


def upgrade() -> None:
    if not context.config.attributes["in_use"]:
        for name, columns in INDEXES.items():
            op.execute(f"CREATE INDEX {name} ON {columns}")
        return
    with op.get_context().autocommit_block():
        # Waiting for the transactions of others holds nobody up here, and giving up would leave an invalid index.
        op.execute("SET lock_timeout = 0")
        for name, columns in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS dispatcher.{name}")  # an invalid one, of a stopped attempt
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {columns}")
