"""The console of an engine on this machine: switched on, and with a login that works once."""

from collections.abc import Mapping
from datetime import timedelta

from dispatcher.accounts.actor import CommandLine
from dispatcher.accounts.api_keys import Scope
from dispatcher.accounts.portal_links import make_to_console
from dispatcher.installation import Installation
from dispatcher.settings import Settings, environment_name

ON, URL = environment_name("console"), environment_name("console_url")
_LASTS = timedelta(hours=1)
_BY = CommandLine("up")


def switched_on(given: Mapping[str, str], address: str) -> dict[str, str]:
    """The variables that switch it on at this address, unless the given ones say otherwise."""
    return {ON: given.get(ON) or "on", URL: given.get(URL) or address}


def login(settings: Settings) -> str | None:
    """An address that signs an operator in, once; None while the console is switched off."""
    if settings.console == "off":
        return None
    installation = Installation(settings)
    try:
        with installation.transaction() as session:
            link = make_to_console(
                session, Scope.OPERATOR, settings, expires_in=_LASTS, now=installation.clock(), by=_BY
            )
        return link.url(settings.console_url)
    finally:
        installation.close()
