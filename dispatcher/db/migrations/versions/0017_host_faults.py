"""What a process has found wrong with its host, and since when. Nothing reads it yet that older versions run."""

from alembic import op

revision = "0017"
down_revision = "0016"

COLUMNS = """
ALTER TABLE dispatcher.processes
    ADD COLUMN IF NOT EXISTS fault TEXT,
    ADD COLUMN IF NOT EXISTS fault_since TIMESTAMP WITH TIME ZONE
"""


def upgrade() -> None:
    op.execute(COLUMNS)
