"""The audit log."""

from alembic import op

revision = "0008"
down_revision = "0007"

CHANGES = """
CREATE TABLE dispatcher.audit (
    id UUID NOT NULL,
    actor_kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    key_id UUID,
    dialect TEXT,
    user_label TEXT,
    account_id UUID,
    action TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target_id UUID NOT NULL,
    detail JSONB NOT NULL,
    request_id UUID,
    address TEXT,
    CONSTRAINT audit_pkey PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE TABLE dispatcher.audit_default PARTITION OF dispatcher.audit DEFAULT;
CREATE INDEX audit_account_id_id_idx ON dispatcher.audit (account_id, id);
CREATE INDEX audit_key_id_id_idx ON dispatcher.audit (key_id, id);
CREATE INDEX audit_target_id_id_idx ON dispatcher.audit (target_id, id);
CREATE INDEX audit_request_id_id_idx ON dispatcher.audit (request_id, id);
"""


def upgrade() -> None:
    for statement in CHANGES.split(";\n"):
        if statement.strip():
            op.execute(statement)
