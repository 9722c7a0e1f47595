"""From when on secrets are written bound to their rows. In a new database that is at once, so versions that cannot open
them are excluded; in one that was in use before, upkeep begins it (`dispatcher/db/binding.py`), by a function, because
workers may not exclude versions as they like.
"""

from alembic import context, op

revision = "0022"
down_revision = "0021"

COLUMN = "ALTER TABLE dispatcher.installation ADD COLUMN IF NOT EXISTS secrets_bound_from TIMESTAMP WITH TIME ZONE"
AT_ONCE = "UPDATE dispatcher.installation SET oldest_revision = '0022'"
# It can be called early, which costs nothing but the way back to an older version.
BEGIN = """
CREATE OR REPLACE FUNCTION dispatcher.begin_binding_v1() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE dispatcher.installation SET secrets_bound_from = now(), oldest_revision = '0022' WHERE oldest_revision < '0022'
$$
"""


def upgrade() -> None:
    op.execute(COLUMN)
    if not context.config.attributes["in_use"]:
        op.execute(AT_ONCE)
    op.execute(BEGIN)
    op.execute("REVOKE ALL ON FUNCTION dispatcher.begin_binding_v1() FROM PUBLIC")
