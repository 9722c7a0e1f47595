"""`dispatcher key`: makes, lists and revokes API keys."""

from datetime import timedelta
from typing import Annotated

import typer

from dispatcher.accounts.api_keys import OF_OPERATORS, Scope, create_key, keys_page, revoke_key, shown_key
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, key_id
from dispatcher.cli.output import AsJson, print_documents, print_done, print_json, print_line, print_older
from dispatcher.cli.shared_options import PAGE, AnyAccount, Before, Limit

app = Commands()


@app.command(epilog="Example: dispatcher key create --account acme --scope send --name backend --days 365")
def create(
    *,
    context: typer.Context,
    account: Annotated[
        str | None, typer.Option(metavar="NAME", help="The account it acts for; an operator's needs none")
    ] = None,
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do", show_default="send")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="A note on its purpose")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until it expires", show_default="never")
    ] = None,
    json: AsJson = False,
) -> None:
    """Make an API key.

    Its token is printed now and cannot be shown again.
    """
    scopes = list(dict.fromkeys(scope or [Scope.SEND]))
    if account is None and not OF_OPERATORS.intersection(scopes):
        raise typer.BadParameter("give --account, or --scope operator or observe for a key that has no account")
    installation = installation_of(context)
    with installation.transaction() as session:
        key = create_key(
            session,
            by=this_user(),
            account=account_of(session, account).name if account is not None else None,
            scopes=scopes,
            name=name,
            valid_for=timedelta(days=days) if days is not None else None,
            defaults=installation.settings.default_limits,
        )
    if json:
        print_json({"id": key.id, "account": account, "scopes": scopes, "name": name, "token": key.token})
        return
    print_line(key.token)
    print_line("This token is shown only now: keep it. Programs send it as `Authorization: Bearer TOKEN`.", stderr=True)
    if account is None:
        does = "acts for" if Scope.OPERATOR in scopes else "looks at"
        print_line(f"This is an operator's key: it {does} every account.", stderr=True)


@app.command("list")
def list_(
    context: typer.Context,
    account: AnyAccount = None,
    before: Before = None,
    limit: Limit = PAGE,
    json: AsJson = False,
) -> None:
    """List API keys, newest first, also revoked and expired ones.

    Their secrets cannot be shown.
    """
    with installation_of(context).transaction() as session:
        owner = account_of(session, account) if account is not None else None
        keys = keys_page(session, owner, before=before, limit=limit)
    columns = {name: name for name in ("id", "account", "name", "scopes")}
    columns |= {"created": "created_at", "expires": "expires_at", "revoked": "revoked_at"}
    documents = [shown_key(key, name) for key, name in keys]
    print_documents(documents, columns, json=json, gives_way=["name", "scopes"])
    print_older(keys[-1][0].id if len(keys) == limit else None)


@app.command()
def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id (the token up to the dot) or its name")],
    json: AsJson = False,
) -> None:
    """Revoke a key, at once and for good."""
    with installation_of(context).transaction() as session:
        revoked = revoke_key(session, key_id(session, key), by=this_user())
        session.refresh(revoked)
    document = {"id": revoked.id, "revoked_at": revoked.revoked_at}
    print_done(f"key {revoked.id} is revoked", document, json=json)
