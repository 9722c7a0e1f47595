"""Whether a version works with a database's server and tables. Kept apart from the migrations, so that workers need not
load their library."""

from pathlib import Path

from sqlalchemy import Connection, text

from dispatcher.errors import ConfigurationError

OLDEST_POSTGRES = 15
MIGRATIONS = Path(__file__).parent / "migrations"


def newest_migration() -> str:
    """The newest revision: revision files are numbered, and their names begin with the revision."""
    return max(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def check_postgres(connection: Connection) -> None:
    """Raises ConfigurationError for a server that is older than this version needs."""
    found = connection.dialect.server_version_info or (OLDEST_POSTGRES,)  # asked once, when the engine first connects
    if int(found[0]) < OLDEST_POSTGRES:
        raise ConfigurationError(
            f"DATABASE_URL leads to PostgreSQL {'.'.join(map(str, found))}: {OLDEST_POSTGRES} or newer is needed"
        )


def check_migrated(connection: Connection) -> None:
    """Raises ConfigurationError where this version does not work with the database's tables.

    It needs its own newest migration. It also works with newer tables that do not exclude it: during an upgrade, the
    processes of the version before go on, and may be started again.
    """
    ours, found = newest_migration(), None
    if connection.scalar(text("SELECT to_regclass('dispatcher.migrations')")):
        found = connection.scalar(text("SELECT version_num FROM dispatcher.migrations"))
    if found is None or found < ours:
        raise ConfigurationError(
            f"the database is at migration {found or 'none'}, this version needs {ours}: run `dispatcher migrate`"
        )
    if found > ours:
        oldest = connection.scalar(text("SELECT oldest_revision FROM dispatcher.installation"))
        if oldest > ours:
            raise ConfigurationError(
                f"the database is at migration {found}, for versions with migration {oldest} or a newer one; this"
                f" version has {ours}: upgrade it"
            )
