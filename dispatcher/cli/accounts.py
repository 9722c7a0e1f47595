"""`dispatcher account`: who owns webhooks and events."""

from typing import Annotated, Any

import typer

from dispatcher.accounts.accounts import create_account, list_accounts
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, print_documents, print_done
from dispatcher.db.models import Account

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
    print_done(f"account {account.name} created", _document(account), json=json)


@app.command("list")
def list_(context: typer.Context, json: AsJson = False) -> None:
    """List all accounts."""
    with installation_of(context).transaction() as session:
        accounts = list_accounts(session)
    columns = {"name": "name", "id": "id", "created": "created_at"}
    print_documents(list(map(_document, accounts)), columns, json=json)


def _document(account: Account) -> dict[str, Any]:
    return {"id": account.id, "name": account.name, "created_at": account.created_at}
