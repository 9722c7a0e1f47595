"""The processes that say that they live, and leases: who does at the moment what only one should do."""

from alembic import op

revision = "0016"
down_revision = "0015"

PROCESSES = """
CREATE TABLE dispatcher.processes (
    id UUID NOT NULL,
    kind TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    schema_from TEXT NOT NULL,
    schema_to TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    doing TEXT NOT NULL,
    CONSTRAINT processes_pkey PRIMARY KEY (id)
)
"""
LEASES = """
CREATE TABLE dispatcher.leases (
    name TEXT NOT NULL,
    holder UUID NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT leases_pkey PRIMARY KEY (name)
)
"""


def upgrade() -> None:
    op.execute(PROCESSES)
    op.execute(LEASES)
