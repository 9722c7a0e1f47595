"""Leases: the right to do for a time what only one process should do.

A lease ends by itself, whatever became of its holder. Who has done the work sets the end to when it is due again, so
the lease is its pace, too. Nobody waits for a lease: one that somebody has locked is somebody else's. Ends that no
lease can have are none.

The answer to who asks for a lease can be lost: it is held then by a process that does not know. So that nobody waits
until it ends, a process that may hold one unknowingly asks for it `again`.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine, text

# Parts of a statement that takes a lease which nobody has; `taken` has a row then. One that does not exist yet is made,
# for the next one who asks. `late`: only if it ended so long ago; negative: also if it will end as soon. `again`: also
# if this process holds it.
TAKEN = """
due AS (
  SELECT name FROM dispatcher.leases WHERE name = CAST(:lease AS text)
    AND (until NOT BETWEEN now() - CAST(:late AS interval) AND now() + 2 * CAST(:span AS interval)
      OR CAST(:again AS boolean) AND holder = CAST(:me AS uuid))
  FOR UPDATE SKIP LOCKED),
taken AS (
  UPDATE dispatcher.leases SET holder = CAST(:me AS uuid), until = now() + CAST(:span AS interval)
  WHERE name = ANY(ARRAY(SELECT name FROM due)) RETURNING name),
made AS (
  INSERT INTO dispatcher.leases (name, holder, until)
  SELECT CAST(:lease AS text), CAST(:me AS uuid), now()
  WHERE CAST(:lease AS text) IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM dispatcher.leases WHERE name = CAST(:lease AS text))
  ON CONFLICT DO NOTHING)"""

_SET = text("""
WITH held AS (
  SELECT name FROM dispatcher.leases WHERE name = :lease AND holder = :me FOR UPDATE SKIP LOCKED)
UPDATE dispatcher.leases SET holder = :me, until = now() + :left WHERE name = ANY(ARRAY(SELECT name FROM held))
""")


def set_end(engine: Engine, lease: str, me: UUID, left: timedelta) -> None:
    """Sets in what time a lease ends that this process has."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(_SET, {"lease": lease, "me": me, "left": left})
