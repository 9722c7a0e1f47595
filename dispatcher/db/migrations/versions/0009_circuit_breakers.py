"""Tables and columns get the names of the glossary: circuit breaker in place of gate, trial in place of probe. And the
tables say which versions they work with."""

from alembic import op

revision = "0009"
down_revision = "0008"

CHANGES = """
ALTER TABLE dispatcher.gates RENAME TO circuit_breakers;
ALTER TABLE dispatcher.circuit_breakers RENAME CONSTRAINT gates_pkey TO circuit_breakers_pkey;
ALTER TABLE dispatcher.circuit_breakers RENAME CONSTRAINT gates_webhook_id_fkey TO circuit_breakers_webhook_id_fkey;
ALTER TABLE dispatcher.circuit_breakers RENAME COLUMN closed_at TO opened_at;
ALTER TABLE dispatcher.circuit_breakers RENAME COLUMN probes TO trials;
ALTER TABLE dispatcher.circuit_breakers RENAME COLUMN probe_at TO trial_at;
ALTER INDEX dispatcher.gates_probe_at_idx RENAME TO circuit_breakers_trial_at_idx;
ALTER TABLE dispatcher.deliveries RENAME COLUMN passes_gate TO bypasses_circuit;
ALTER INDEX dispatcher.deliveries_passing_idx RENAME TO deliveries_bypassing_idx;
UPDATE dispatcher.webhooks
    SET contract = contract - 'gate' || jsonb_build_object('circuit_breaker', contract -> 'gate')
    WHERE contract ? 'gate';
ALTER TABLE dispatcher.installation ADD COLUMN oldest_revision TEXT NOT NULL DEFAULT '0009';
"""


def upgrade() -> None:
    for statement in CHANGES.split(";\n"):
        if statement.strip():
            op.execute(statement)
