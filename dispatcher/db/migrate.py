"""Brings a database to this version's tables. Safe to run many times at once: one works, the others wait."""

import logging
import time
from datetime import UTC, datetime

from alembic import command
from alembic.config import Config
from psycopg2.errors import LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from dispatcher.db.engines import TABLES, make_engine
from dispatcher.db.partitions import create_partition, create_partitions, missing_partitions
from dispatcher.db.schema import SCHEMA
from dispatcher.db.version import MIGRATIONS
from dispatcher.errors import ConfigurationError

log = logging.getLogger("dispatcher.db.migrate")

LOCK_TIMEOUT = "200ms"  # for a table's lock: while it is waited for, all others who use the table queue up behind
# Each tenth try: an autovacuum gives way only to those who have waited for PostgreSQL's `deadlock_timeout`, a second.
LONGER_TIMEOUT = "1500ms"
PAUSE = 1.0  # seconds between two tries, in which the others get on
TRIES = 300
_LOCK = 0x64697370  # "disp": the advisory lock that migrations hold


def upgrade(database_url: str) -> None:
    """Creates or migrates the schema `dispatcher`. Idempotent. `database_url` as in the settings.

    Each migration of a database in use has its own transactions: one that is stopped half-way is continued by the next
    call. Partitions of tables that are in use are left for upkeep to make, with a warning. Raises ConfigurationError
    for a database that does not store UTF-8, and where a table stays locked by others for minutes.
    """
    engine = make_engine(database_url, application_name="dispatcher migrate", limits=TABLES)
    try:
        with engine.connect() as connection:
            _check_encoding(connection)
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            connection.commit()
            in_use = connection.scalar(text(f"SELECT to_regclass('{SCHEMA}.events') IS NOT NULL"))
            connection.rollback()
            if in_use:
                _upgrade_in_use(connection)
            else:
                _create(connection)
        create_partitions(engine, datetime.now(UTC))
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


def _create(connection: Connection) -> None:
    """In one transaction: no one can see the tables yet, so no one waits; and they are never without partitions."""
    with connection.begin():
        command.upgrade(_config(connection, in_use=False), "head")
        for partition in missing_partitions(connection, datetime.now(UTC)):
            create_partition(connection, partition)


def _upgrade_in_use(connection: Connection) -> None:
    for tries in range(1, TRIES + 1):
        timeout = LOCK_TIMEOUT if tries % 10 else LONGER_TIMEOUT
        connection.execute(text(f"SET lock_timeout = '{timeout}'"))
        connection.commit()
        try:
            command.upgrade(_config(connection, in_use=True), "head")
            return
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
        if tries % 10 == 1:
            log.warning("a table is locked by others (a backup, a long transaction): trying again every second")
        connection.rollback()
        time.sleep(PAUSE)
    raise ConfigurationError(
        f"a table was locked by others for {TRIES * PAUSE / 60:.0f} minutes: end what holds it (pg_stat_activity shows"
        " it), then run `dispatcher migrate` again; it continues where it stopped"
    )


def _config(connection: Connection, *, in_use: bool) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes.update(connection=connection, in_use=in_use)
    return config
