"""`dispatcher account`: who owns webhooks and events."""

from typing import Annotated

import typer

from dispatcher.accounts.accounts import create_account, list_accounts
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, print_json, print_line, print_table

app = Commands()


@app.command(epilog="Example: dispatcher account create acme")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The account's name, as `enqueue` uses it")],
    json: AsJson = False,
) -> None:
    """Make an account."""
    with installation_of(context).transaction() as session:
        account = create_account(session, name, by=this_user())
        session.refresh(account)
    if json:
        print_json({"id": account.id, "name": account.name, "created_at": account.created_at})
    else:
        print_line(f"account {account.name} created")


@app.command("list")
def list_(context: typer.Context, json: AsJson = False) -> None:
    """List all accounts."""
    with installation_of(context).transaction() as session:
        accounts = list_accounts(session)
    if json:
        print_json([{"id": item.id, "name": item.name, "created_at": item.created_at} for item in accounts])
    else:
        print_table(["name", "id", "created"], [(item.name, item.id, item.created_at) for item in accounts])
