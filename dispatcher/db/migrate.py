"""Brings a database to this version's tables. Safe to start many times at once: one runs, the others wait."""

from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from dispatcher.db.models import SCHEMA
from dispatcher.db.partitions import create_partitions
from dispatcher.errors import ConfigurationError

_LOCK = 0x64697370  # "disp": the advisory lock that migrations hold


def upgrade(database_url: str) -> None:
    """Creates or migrates the schema `dispatcher`. Idempotent. `database_url` as in the settings."""
    engine = create_engine(database_url)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            command.upgrade(_config(connection), "head")
            create_partitions(connection, datetime.now(UTC))
    finally:
        engine.dispose()


def check_migrated(connection: Connection) -> None:
    """Raises ConfigurationError where the database is not at this version's migration."""
    wanted = ScriptDirectory.from_config(_config(connection)).get_current_head()
    found = None
    if connection.scalar(text("SELECT to_regclass('dispatcher.migrations')")):
        found = connection.scalar(text("SELECT version_num FROM dispatcher.migrations"))
    if found != wanted:
        raise ConfigurationError(
            f"the database is at migration {found or 'none'}, this version needs {wanted}: run `dispatcher migrate`"
        )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
