"""`dispatcher key`: API keys, made, seen and revoked."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import typer

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Scope, create_key, list_keys, revoke_key
from dispatcher.cli.actor import this_user
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, print_json, print_line, print_table
from dispatcher.db.models import ApiKey

app = typer.Typer(help="API keys: what programs show to use the HTTP API.", no_args_is_help=True)


@app.command(epilog="Example: dispatcher key create --account acme --scope send --name backend --days 365")
def create(
    *,
    context: typer.Context,
    account: Annotated[
        str | None, typer.Option(help="The account it acts for; none only for an operator's key.")
    ] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do; may be given several times. Default: send."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A note on what it is for.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="Days until it expires. Default: never.")] = None,
    json: AsJson = False,
) -> None:
    """Make an API key. Its token is printed this once and cannot be shown again."""
    scopes = list(dict.fromkeys(scope or [Scope.SEND]))
    if account is None and Scope.OPERATOR not in scopes:
        raise typer.BadParameter("give --account, or --scope operator for a key that acts for every account")
    with installation_of(context).transaction() as session:
        key = create_key(
            session,
            by=this_user(),
            account=account,
            scopes=scopes,
            name=name,
            valid_for=timedelta(days=days) if days is not None else None,
        )
    if json:
        print_json({"id": key.id, "account": account, "scopes": scopes, "name": name, "token": key.token})
        return
    print_line(key.token)
    print_line("This token is shown only now: keep it. Programs send it as `Authorization: Bearer TOKEN`.", stderr=True)
    if account is None:
        print_line("This is an operator's key: it acts for every account.", stderr=True)


@app.command("list")
def list_(
    context: typer.Context,
    account: Annotated[str | None, typer.Option(help="Only this account's keys.")] = None,
    json: AsJson = False,
) -> None:
    """List API keys, without their secrets; revoked and expired ones too."""
    with installation_of(context).transaction() as session:
        keys = list_keys(session, find_account(session, account) if account is not None else None)
    if json:
        print_json([_document(key, owner) for key, owner in keys])
        return
    print_table(
        ["id", "account", "name", "scopes", "created", "expires", "revoked"],
        [(key.id, owner, key.name, key.scopes, key.created_at, key.expires_at, key.revoked_at) for key, owner in keys],
    )


@app.command()
def revoke(
    context: typer.Context,
    identifier: Annotated[UUID, typer.Argument(metavar="ID", help="The key's id: the part before the token's dot.")],
    json: AsJson = False,
) -> None:
    """End a key for good, at once."""
    with installation_of(context).transaction() as session:
        key = revoke_key(session, identifier, by=this_user())
        session.refresh(key)
    if json:
        print_json({"id": key.id, "revoked_at": key.revoked_at})
    else:
        print_line(f"key {key.id} is revoked")


def _document(key: ApiKey, owner: str | None) -> dict[str, Any]:
    dates: dict[str, datetime | None] = {
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
    return {"id": key.id, "account": owner, "name": key.name, "scopes": key.scopes, **dates}
