"""The installation that a command works on: made when it is first needed, for not every command needs one."""

from collections.abc import Callable
from functools import cached_property

import typer

from dispatcher.installation import Installation


class Installed:
    """What the commands of one call find in their context."""

    def __init__(self, make: Callable[[], Installation]) -> None:
        self._make = make

    @cached_property
    def installation(self) -> Installation:
        return self._make()

    def close(self) -> None:
        """Closes it, if it was made."""
        if "installation" in self.__dict__:
            self.installation.close()


def installation_of(context: typer.Context) -> Installation:
    """The installation of this call. Raises ConfigurationError for settings that are missing or wrong."""
    installed: Installed = context.obj
    return installed.installation
