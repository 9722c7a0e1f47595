"""The database's server: what it says of itself."""

from collections.abc import Sequence

from sqlalchemy import text

from dispatcher.diagnosis.findings import Finding
from dispatcher.diagnosis.judging import server as judging
from dispatcher.diagnosis.judging.server import Rows, Slot, Snapshot
from dispatcher.diagnosis.running import Patient

_TABLES = 200  # with the most dead rows

_CONNECTIONS = text("""
SELECT (SELECT sum(numbackends) FROM pg_stat_database) AS used,
  CAST(current_setting('max_connections') AS integer)
    - CAST(current_setting('superuser_reserved_connections') AS integer)
    - CAST(coalesce(current_setting('reserved_connections', true), '0') AS integer) AS most
""")
_SNAPSHOT = text("""
SELECT extract(epoch FROM now() - xact_start) AS seconds, pid, application_name AS name FROM pg_stat_activity
WHERE backend_xmin IS NOT NULL AND xact_start IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1
""")
_SEES_ALL = text("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')")
_PREPARED = text("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()")
_SLOTS = text("""
SELECT slot_name AS name, active, coalesce(wal_status = 'lost', false) AS lost, coalesce(pg_wal_lsn_diff(
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, restart_lsn), 0) AS held
FROM pg_replication_slots ORDER BY held DESC LIMIT 100
""")
_ROWS = text(f"""
SELECT s.relname AS "table", s.n_live_tup AS live, s.n_dead_tup AS dead,
  greatest(s.last_autovacuum, s.last_vacuum) AS vacuumed_at,
  coalesce('autovacuum_enabled=false' = ANY(c.reloptions), false) AS is_off
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE s.schemaname = 'dispatcher' ORDER BY is_off DESC, dead DESC LIMIT {_TABLES}
""")  # noqa: S608 - a constant
_VACUUM = text("""
SELECT current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on' AS is_on,
  (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()) AS oldest, now() AS now
""")


def connections(patient: Patient) -> Sequence[Finding]:
    with patient.connection() as connection:
        row = connection.execute(_CONNECTIONS).one()
    return [judging.connections(int(row.used), row.most)]


def snapshot(patient: Patient) -> Sequence[Finding]:
    with patient.connection() as connection:
        row = connection.execute(_SNAPSHOT).one_or_none()
        prepared = int(connection.scalar(_PREPARED) or 0)
        sees_all = bool(connection.scalar(_SEES_ALL))
    oldest = Snapshot(float(row.seconds), row.pid, row.name) if row is not None else None
    return judging.snapshot(oldest, prepared, sees_all=sees_all)


def slots(patient: Patient) -> Sequence[Finding]:
    with patient.connection() as connection:
        found = [Slot(row.name, row.active, float(row.held), row.lost) for row in connection.execute(_SLOTS)]
    return judging.slots(found)


def bloat(patient: Patient) -> Sequence[Finding]:
    with patient.connection() as connection:
        tables = [Rows(*row) for row in connection.execute(_ROWS)]
        vacuum = connection.execute(_VACUUM).one()
    return judging.bloat(tables, is_on=vacuum.is_on, oldest=vacuum.oldest, now=vacuum.now)
