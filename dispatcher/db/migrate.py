"""Brings a database to this version's tables. Safe to run many times at once: one works, the others wait."""

from datetime import UTC, datetime

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from dispatcher.db.partitions import create_partition, create_partitions, missing_partitions
from dispatcher.db.schema import SCHEMA
from dispatcher.db.version import MIGRATIONS

_LOCK = 0x64697370  # "disp": the advisory lock that migrations hold


def upgrade(database_url: str) -> None:
    """Creates or migrates the schema `dispatcher`. Idempotent. `database_url` as in the settings.

    Partitions of tables that are in use are left for upkeep to make, with a warning.
    """
    engine = create_engine(database_url)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            new = connection.scalar(text(f"SELECT to_regclass('{SCHEMA}.events') IS NULL"))
            command.upgrade(_config(connection), "head")
            if new:  # no one can see the tables yet, so no one waits; and they are never without partitions
                for partition in missing_partitions(connection, datetime.now(UTC)):
                    create_partition(connection, partition)
        create_partitions(engine, datetime.now(UTC))
    finally:
        engine.dispose()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
