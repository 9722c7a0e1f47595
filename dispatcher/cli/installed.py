"""The installation that a command works on. It is made when first needed, as not every command needs one."""

import sys
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import typer

from dispatcher.cli.masked_settings import mask_connection
from dispatcher.errors import ConfigurationError

if TYPE_CHECKING:
    from dispatcher.installation import Installation


class Installed:
    """The context object of the commands in one call."""

    def __init__(self, make: "Callable[[], Installation]") -> None:
        self._make = make

    @cached_property
    def installation(self) -> "Installation":
        try:
            return self._make()
        except ConfigurationError as error:
            from dispatcher.cli.engine import no_engine

            if "DATABASE_URL is not set" in str(error) and (none := no_engine()):
                raise ConfigurationError(none) from None
            raise

    def close(self) -> None:
        """Closes the installation, if it was made."""
        if "installation" in self.__dict__:
            self.installation.close()

    def explain(self, error: Exception) -> str | None:
        """If the error means that the database cannot be used: why, which one, and what to do. None for others."""
        if "sqlalchemy" not in sys.modules:
            return None
        from sqlalchemy.exc import SQLAlchemyError

        from dispatcher.db.outages import explain_outage

        explained = explain_outage(error) if isinstance(error, SQLAlchemyError) else None
        if explained is None or "DATABASE_URL" not in explained or "installation" not in self.__dict__:
            return explained
        place = mask_connection(self.installation.settings.database_url.get_secret_value())
        remedy = ". Start it, or set DATABASE_URL to where it runs" if "answer" in explained else ""
        return f"{explained}: {place.replace('+psycopg2', '')}{remedy}"


def installation_of(context: typer.Context) -> "Installation":
    """The installation of this call. Raises ConfigurationError for missing or wrong settings."""
    installed: Installed = context.obj
    return installed.installation
