"""URLs as they were given, beside the form that is called."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("ALTER TABLE dispatcher.webhooks ADD COLUMN url_given_ciphertext BYTEA")
