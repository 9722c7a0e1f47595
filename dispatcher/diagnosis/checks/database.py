"""The database, as this process uses it."""

from collections.abc import Sequence
from datetime import datetime
from time import monotonic, time

from sqlalchemy import func, select, text

from dispatcher.db.binding import BINDING, Binding
from dispatcher.db.default_partitions import default_partitions
from dispatcher.db.models import Base
from dispatcher.db.partitions import missing_partitions
from dispatcher.db.poolers import check_told
from dispatcher.db.retention.forecast import forecast
from dispatcher.db.retention.kinds import Kept
from dispatcher.db.roles import ROLES
from dispatcher.db.urls import places
from dispatcher.db.version import check_migrated, check_postgres, newest_migration
from dispatcher.diagnosis import readiness
from dispatcher.diagnosis.findings import Finding, ok
from dispatcher.diagnosis.judging import database as judging
from dispatcher.diagnosis.judging.database import Going
from dispatcher.diagnosis.running import Patient
from dispatcher.encryption.stored import DIGEST_KEY, ciphertext_columns, is_unbound
from dispatcher.ids import time_of

_TRIES = 5
_COUNTED = 10_000  # rows of a default partition

_NOW = text("SELECT now()")
_VERSION = text("SELECT current_setting('server_version')")
_SESSION = text("SELECT pg_backend_pid()")
_CLOCK = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
_MIGRATION = text("SELECT version_num FROM dispatcher.migrations")
_COLUMNS = text("""
SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = to_regnamespace('dispatcher') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped
""")
_INVALID = text("""
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = to_regnamespace('dispatcher') AND NOT i.indisvalid AND c.relkind = 'i'
  AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid) ORDER BY 1 LIMIT 20
""")
_OWNER = text("""
SELECT current_user AS role, (SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class
  WHERE relnamespace = to_regnamespace('dispatcher') AND relkind IN ('r', 'p') AND NOT relispartition) AS is_owner
""")
# A right on some columns counts as one on the table.
_LACKING = text("""
SELECT r || ' on ' || c.relname FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) r
WHERE c.relnamespace = to_regnamespace('dispatcher') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND NOT (has_schema_privilege(c.relnamespace, 'USAGE')
           AND CASE r WHEN 'DELETE' THEN has_table_privilege(c.oid, r) ELSE has_any_column_privilege(c.oid, r) END)
UNION ALL
SELECT 'EXECUTE on ' || proname FROM pg_proc
WHERE pronamespace = to_regnamespace('dispatcher') AND NOT has_function_privilege(oid, 'EXECUTE')
""")
_BINDING = text(f"SELECT {BINDING} AS binding, secrets_bound_from, now() AS now FROM dispatcher.installation")  # noqa: S608
_SOME = "SELECT count(*) FROM (SELECT 1 FROM dispatcher.{} LIMIT :most) counted"


def place(patient: Patient) -> str:
    return places(patient.installation.settings.database_url.get_secret_value())


def answers(patient: Patient) -> Sequence[Finding]:
    """Connects, with the limits that sessions are to have."""
    with patient.connection() as connection:
        check_told(connection)
        check_postgres(connection)
        version = str(connection.scalar(_VERSION)).partition(" ")[0]
        took = []
        for _ in range(_TRIES):
            began = monotonic()
            connection.execute(_SESSION)
            took.append(monotonic() - began)
    return [judging.answers(version, min(took))]


def pooler(patient: Patient) -> Sequence[Finding]:
    """A pooler gives each client a number of its own for its session, not the server's."""
    with patient.connection() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        is_there = driver.get_backend_pid() != connection.scalar(_SESSION)
    return [judging.pooler(is_there=is_there, is_said=patient.installation.settings.database_pooler)]


def migrations(patient: Patient) -> Sequence[Finding]:
    with patient.connection() as connection:
        check_migrated(connection)
        found = str(connection.scalar(_MIGRATION))
        there = set(connection.scalars(_COLUMNS))
        invalid = connection.scalars(_INVALID).all()
    wanted = {f"{table.name}.{column.name}" for table in Base.metadata.tables.values() for column in table.columns}
    return judging.schema(found, newest_migration(), sorted(wanted - there), invalid)


def rights(patient: Patient) -> Sequence[Finding]:
    with patient.connection() as connection:
        who = connection.execute(_OWNER).one()
        lacking = set(connection.scalars(_LACKING))
    wanted = {name: role.rights for name, role in ROLES.items()}
    return [judging.rights(who.role, lacking, wanted, is_owner=who.is_owner)]


def storing(patient: Patient) -> Sequence[Finding]:
    """Stores an event, and takes it back."""
    engine = readiness.new_engine(patient.installation)
    try:
        readiness.check_database(patient.installation, engine)
    finally:
        engine.dispose()
    return [ok("an event was stored, and taken back")]


def encryption(patient: Patient) -> Sequence[Finding]:
    readiness.check_encryption(patient.installation, patient.engine)
    return [ok("the keys open what is stored")]


def binding(patient: Patient) -> Sequence[Finding]:
    """Secrets that are not bound to their rows are counted while they are being bound."""
    with patient.connection() as connection:
        row = connection.execute(_BINDING).one()
        begun, done = row.binding >= Binding.BEGUN, row.binding == Binding.DONE
        columns = ciphertext_columns() if begun and not done else []
        unbound = sum(
            connection.execute(select(func.count()).where(is_unbound(column))).scalar_one()
            for column in columns
            if column is not DIGEST_KEY
        )
    return [judging.binding(row.secrets_bound_from, unbound, row.now, begun=begun, done=done)]


def clock(patient: Patient) -> Sequence[Finding]:
    samples = []
    with patient.connection() as connection:
        connection.execute(_CLOCK)
        for _ in range(_TRIES):
            asked, began = time(), monotonic()
            said = connection.execute(_CLOCK).scalar_one()
            half = (monotonic() - began) / 2
            samples.append((half, said - asked - half))
    half, offset = min(samples)
    return [judging.own_clock(offset, half)]


def partitions(patient: Patient) -> Sequence[Finding]:
    with patient.connection() as connection:
        now = connection.execute(_NOW).scalar_one()
        missing: dict[str, datetime] = {}
        for partition in missing_partitions(connection, now):
            missing.setdefault(partition.table, time_of(partition.first))
        default_rows = {
            table: int(connection.scalar(text(_SOME.format(name)), {"most": _COUNTED}) or 0)
            for table, name in default_partitions(connection).items()
        }
    return judging.partitions(missing, default_rows, now)


def retention(patient: Patient) -> Sequence[Finding]:
    settings = patient.installation.settings
    kept = Kept.of(dict(settings), settings.model_fields_set)
    with patient.connection() as connection:
        now = connection.execute(_NOW).scalar_one()
        found = forecast(connection, kept, now)
    return judging.retention(
        [Going(str(one.kind), one.days, one.spared_until, one.weeks, one.rows, one.bytes) for one in found]
    )
