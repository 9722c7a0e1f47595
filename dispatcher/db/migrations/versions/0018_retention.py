"""How far retention has come, and from when on it removes what nobody has set a time for.

A database that was in use before has 14 days, in which nothing goes that its operator has not asked for.
"""

from alembic import context, op

revision = "0018"
down_revision = "0017"

COLUMN = "ALTER TABLE dispatcher.installation ADD COLUMN IF NOT EXISTS retention_from TIMESTAMP WITH TIME ZONE"
FROM = "UPDATE dispatcher.installation SET retention_from = now() + interval '14 days' WHERE retention_from IS NULL"
PROGRESS = """
CREATE TABLE IF NOT EXISTS dispatcher.retention (
    kind TEXT NOT NULL,
    reached UUID NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT retention_pkey PRIMARY KEY (kind)
)
"""


def upgrade() -> None:
    op.execute(COLUMN)
    if context.config.attributes["in_use"]:
        op.execute(FROM)
    op.execute(PROGRESS)
