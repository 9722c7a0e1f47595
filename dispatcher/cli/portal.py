"""`dispatcher account portal-link` and `end-portal-sessions`, `dispatcher console-link`: who looks with a browser."""

from datetime import timedelta
from typing import Annotated, Literal

import typer

from dispatcher.accounts.api_keys import Scope
from dispatcher.accounts.portal_choices import LINK_SECONDS, SESSION_SECONDS, PortalChoices, PortalScope
from dispatcher.accounts.portal_links import Link, make_to_console, make_to_portal
from dispatcher.accounts.sessions import end_all_of
from dispatcher.cli.accounts import AccountName
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of
from dispatcher.cli.output import AsJson, print_done, print_json, print_line
from dispatcher.installation import Installation

app = Commands()

_CONSOLE_LINK = timedelta(minutes=5)


@app.command(
    "portal-link", epilog="Example: dispatcher account portal-link acme --scope read --scope manage --user user-17"
)
def portal_link(
    *,
    context: typer.Context,
    name: AccountName,
    scope: Annotated[
        list[PortalScope] | None, typer.Option(help="What its session may do", show_default="read")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="The user, as the audit log is to name them")] = None,
    seconds: Annotated[int, typer.Option(help="Seconds for which it works")] = LINK_SECONDS,
    session_seconds: Annotated[int, typer.Option(help="Seconds until the session ends")] = SESSION_SECONDS,
    embed_origin: Annotated[
        str | None, typer.Option(metavar="ORIGIN", help="Origin of the page that frames it")
    ] = None,
    return_url: Annotated[str | None, typer.Option(metavar="URL", help="Where the portal leads back to")] = None,
    path: Annotated[str, typer.Option(metavar="PATH", help="The first page", show_default="the overview")] = "",
    json: AsJson = False,
) -> None:
    """Make a link that lets a customer into the portal, once.

    Whoever has the link is let in. It ends with its time, not with a key.
    """
    chosen = PortalChoices(
        scopes=frozenset(scope or [PortalScope.READ]),
        user=user,
        expires_in=seconds,
        session_seconds=session_seconds,
        embed_origin=embed_origin,
        return_url=return_url,
        path=path,
    )
    installation = installation_of(context)
    with installation.transaction() as session:
        account = account_of(session, name)
        link = make_to_portal(
            session, account, chosen, installation.settings, key_id=None, now=installation.clock(), by=this_user()
        )
    _print(installation, link, json=json)


@app.command("end-portal-sessions", epilog="Example: dispatcher account end-portal-sessions acme")
def end_portal_sessions(context: typer.Context, name: AccountName, json: AsJson = False) -> None:
    """End all portal sessions and links of an account."""
    installation = installation_of(context)
    with installation.transaction() as session:
        account = account_of(session, name)
        ended = end_all_of(session, account.id, installation.clock(), by=this_user())
    print_done(f"{ended} portal sessions of account {account.name} ended", {"ended": ended}, json=json)


@app.command("console-link", epilog="Example: dispatcher console-link --scope observe")
def console_link(
    context: typer.Context,
    scope: Annotated[Literal["operator", "observe"], typer.Option(help="What its session may do")] = "operator",
    json: AsJson = False,
) -> None:
    """Make a link that signs you in to the console, once.

    It can be used within five minutes. Whoever has it is let in.
    """
    installation = installation_of(context)
    with installation.transaction() as session:
        link = make_to_console(
            session,
            Scope(scope),
            installation.settings,
            expires_in=_CONSOLE_LINK,
            now=installation.clock(),
            by=this_user(),
        )
    _print(installation, link, json=json)


def _print(installation: Installation, link: Link, *, json: bool) -> None:
    url = link.url(installation.settings.console_url)
    if json:
        print_json({"id": link.id, "url": url, "expires_at": link.expires_at})
        return
    print_line(url)
    print_line("The link lets one browser in, whoever opens it first.", stderr=True)
