"""What came of requests, counted by upkeep: for each webhook, each account and the whole installation. Versions from
before know nothing of it, and need not: what they record is counted, too."""

from alembic import op

revision = "0024"
down_revision = "0023"

_BOUNDS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000)
TABLES = f"""
CREATE TABLE IF NOT EXISTS dispatcher.pulses (
    span SMALLINT NOT NULL,
    of_id UUID NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    outcome TEXT NOT NULL,
    requests BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    millis BIGINT NOT NULL,
    {"".join(f"t{bound} INTEGER NOT NULL, " for bound in _BOUNDS)}
    tmore INTEGER NOT NULL,
    CONSTRAINT pulses_pkey PRIMARY KEY (span, of_id, starts_at, outcome)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS pulses_span_starts_at_idx ON dispatcher.pulses (span, starts_at);
CREATE TABLE IF NOT EXISTS dispatcher.pulse_marks (
    name TEXT NOT NULL,
    reached TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pulse_marks_pkey PRIMARY KEY (name)
)
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)
