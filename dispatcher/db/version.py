"""Whether a database has this version's tables. Kept apart from the migrations: workers need not load their library."""

from pathlib import Path

from sqlalchemy import Connection, text

from dispatcher.errors import ConfigurationError

MIGRATIONS = Path(__file__).parent / "migrations"


def newest_migration() -> str:
    """The newest revision: revision files are numbered, and their names begin with the revision."""
    return max(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def check_migrated(connection: Connection) -> None:
    """Raises ConfigurationError where the database is not at this version's migration."""
    wanted, found = newest_migration(), None
    if connection.scalar(text("SELECT to_regclass('dispatcher.migrations')")):
        found = connection.scalar(text("SELECT version_num FROM dispatcher.migrations"))
    if found != wanted:
        raise ConfigurationError(
            f"the database is at migration {found or 'none'}, this version needs {wanted}: run `dispatcher migrate`"
        )
