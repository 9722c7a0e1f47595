"""The API and the command line, as their own tests have them, and what the audit log holds."""

from typing import Any

from sqlalchemy import Engine

from tests.factories import rows
from tests.integration.api.conftest import api, make_key, manager, operator, restarted, running, server
from tests.integration.cli.conftest import cli

__all__ = ["api", "cli", "entries", "forget", "make_key", "manager", "operator", "restarted", "running", "server"]


def entries(database: Engine) -> list[Any]:
    """All entries, oldest first."""
    return rows(database, "SELECT * FROM dispatcher.audit ORDER BY id")


def forget(database: Engine) -> None:
    """Empties the log, so that what comes next stands alone."""
    with database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM dispatcher.audit")
