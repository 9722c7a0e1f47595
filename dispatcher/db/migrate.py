"""Brings a database to this version's tables. Safe to run many times at once: one works, the others wait."""

import logging
import time

from alembic import command
from alembic.config import Config
from psycopg2.errors import LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from dispatcher.db.default_partitions import default_partitions
from dispatcher.db.engines import TABLES, make_engine
from dispatcher.db.partition_rounds import create_partitions
from dispatcher.db.partitions import create_partition, missing_partitions
from dispatcher.db.poolers import check_told
from dispatcher.db.retention.rounds import say_spared
from dispatcher.db.schema import SCHEMA
from dispatcher.db.version import MIGRATIONS, check_migrated, check_postgres, newest_migration
from dispatcher.errors import ConfigurationError

log = logging.getLogger("dispatcher.db.migrate")

LOCK_TIMEOUT = "200ms"  # for a table's lock: while it is waited for, all others who use the table queue up behind
VACUUM_TIMEOUT = "1500ms"  # for one that nobody queues up behind; longer than PostgreSQL's `deadlock_timeout`
PAUSE = 1.0  # seconds between two tries, in which the others get on
TRIES = 300
_LOCK = 0x64697370  # "disp": the advisory lock that migrations hold


def upgrade(database_url: str, *, revision: str = "head") -> None:
    """Creates or migrates the schema `dispatcher`. Idempotent. `database_url` as in the settings.

    Each migration of a database in use has its own transactions: one that is stopped half-way is continued by the next
    call. Partitions that cannot be made now are left for upkeep, with a warning. Tables of a newer version stay as they
    are. Raises ConfigurationError for those if this version does not work with them, for a server that is too old, for
    a database that does not store UTF-8, behind a pooler, and where a table stays locked by others for minutes.
    """
    engine = make_engine(database_url, application_name="dispatcher migrate", limits=TABLES)
    try:
        with engine.connect() as connection:
            check_told(connection)
            check_postgres(connection)
            _check_encoding(connection)
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            connection.commit()
            in_use = connection.scalar(text(f"SELECT to_regclass('{SCHEMA}.events') IS NOT NULL"))
            is_newer = _is_newer(connection)
            now = connection.scalar(text("SELECT now()"))
            connection.rollback()
            if is_newer:
                return
            if in_use:
                _upgrade_in_use(connection, revision)
            else:
                _create(connection)
        if revision == "head":  # it has the functions that make them
            assert now is not None
            create_partitions(engine, now, move_seconds=0)
            say_spared(engine)
    finally:
        engine.dispose()


def _check_encoding(connection: Connection) -> None:
    """Messages are UTF-8, and pass through the database as text."""
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database's encoding is {encoding}, which cannot store every message: make another one with"
            " `CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0`"
        )


def _is_newer(connection: Connection) -> bool:
    """Whether the tables are a newer version's. Raises ConfigurationError if this version does not work with them."""
    if not connection.scalar(text("SELECT to_regclass('dispatcher.migrations') IS NOT NULL")):
        return False
    found = connection.scalar(text("SELECT version_num FROM dispatcher.migrations"))
    if found is None or found <= newest_migration():
        return False
    check_migrated(connection)
    log.warning("the tables are a newer version's (migration %s), with which this version works: they stay", found)
    return True


def _create(connection: Connection) -> None:
    """In one transaction: no one can see the tables yet, so no one waits; and they are never without partitions."""
    with connection.begin():
        command.upgrade(_config(connection, in_use=False), "head")
        now = connection.scalar(text("SELECT now()"))
        assert now is not None
        for default in default_partitions(connection).values():
            connection.execute(text(f"DROP TABLE {SCHEMA}.{default}"))
        for partition in missing_partitions(connection, now):
            create_partition(connection, partition)


def _upgrade_in_use(connection: Connection, revision: str) -> None:
    for tries in range(1, TRIES + 1):
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        try:
            command.upgrade(_config(connection, in_use=True), revision)
            return
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
        if tries % 10 == 1:
            log.warning("a table is locked by others (a backup, a long transaction): trying again every second")
        connection.rollback()
        _interrupt_vacuums(connection)
        time.sleep(PAUSE)
    raise ConfigurationError(
        f"a table was locked by others for {TRIES * PAUSE / 60:.0f} minutes: end what holds it (pg_stat_activity shows"
        " it), then run `dispatcher migrate` again; it continues where it stopped"
    )


def _interrupt_vacuums(connection: Connection) -> None:
    """Makes autovacuums of our tables give way. They do so only for one who has waited for `deadlock_timeout`, a second
    as a rule; so this waits for a lock that no reader or writer queues up behind."""
    tables = connection.scalars(_VACUUMED).all()
    connection.execute(text(f"SET lock_timeout = '{VACUUM_TIMEOUT}'"))
    connection.commit()
    for table in tables:
        try:
            connection.execute(text(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE"))
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
        connection.rollback()


_VACUUMED = text(f"""
SELECT DISTINCT l.relation::regclass::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid()
  AND c.relnamespace = '{SCHEMA}'::regnamespace AND c.relkind = 'r'
""")  # noqa: S608 - a constant


def _config(connection: Connection, *, in_use: bool) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes.update(connection=connection, in_use=in_use)
    return config
