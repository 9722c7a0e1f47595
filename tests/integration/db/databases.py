"""Databases with the tables of an older version, and how a database differs from the models."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, make_url, text

from dispatcher.db.models import Base
from dispatcher.db.version import MIGRATIONS


@contextmanager
def database_at(revision: str, server: str, name: str) -> Iterator[tuple[Engine, str]]:
    """A database of its own with the tables of this migration, without partitions, and its URL. `server`: the URL of
    another one on its server."""
    url = make_url(server).set(database=name).render_as_string(False)
    first, old = create_engine(server, isolation_level="AUTOCOMMIT"), create_engine(url)
    with first.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        with old.begin() as connection:
            connection.execute(text("CREATE SCHEMA dispatcher"))
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes.update(connection=connection, in_use=False)
            command.upgrade(config, revision)
        yield old, url
    finally:
        old.dispose()
        with first.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))
        first.dispose()


def differences_from_models(database: Engine) -> list[Any]:
    """What Alembic finds: tables, columns, defaults and indexes, but not the conditions of these."""

    def ours(_object: Any, name: str | None, kind: str, reflected: bool, _other: Any) -> bool:
        partition = kind == "table" and reflected and name not in {table.name for table in Base.metadata.sorted_tables}
        return not partition

    with database.connect() as connection:
        connection.execute(text("SET search_path TO public"))
        connection.dialect.default_schema_name = "public"
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _parents: kind != "schema" or name == "dispatcher",
                "include_object": ours,
                "compare_server_default": True,
            },
        )
        return list(compare_metadata(context, Base.metadata))
