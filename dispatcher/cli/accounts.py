"""`dispatcher account`: who owns webhooks and events."""

from typing import Annotated, Any

import typer

from dispatcher.accounts.accounts import create_account, list_accounts
from dispatcher.accounts.lifecycle import resume as resume_account
from dispatcher.accounts.lifecycle import suspend as suspend_account
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of
from dispatcher.cli.output import AsJson, print_documents, print_done
from dispatcher.db.models import Account

app = Commands()

AccountName = Annotated[str, typer.Argument(metavar="NAME", help="The account's name or id")]


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
    columns = {"name": "name", "id": "id", "created": "created_at", "suspended": "suspended_at"}
    print_documents(list(map(_document, accounts)), columns, json=json)


@app.command(epilog="Example: dispatcher account suspend acme")
def suspend(context: typer.Context, name: AccountName, json: AsJson = False) -> None:
    """Suspend an account for now.

    No event is taken, nothing is sent, its keys are refused. Its open deliveries wait. No mail is sent about its
    webhooks.
    """
    with installation_of(context).transaction() as session:
        account = account_of(session, name)
        suspend_account(session, account, by=this_user())
    print_done(f"account {account.name} is suspended", _document(account), json=json)


@app.command(epilog="Example: dispatcher account resume acme")
def resume(context: typer.Context, name: AccountName, json: AsJson = False) -> None:
    """Resume a suspended account.

    What became due meanwhile is sent at once.
    """
    installation = installation_of(context)
    with installation.transaction() as session:
        account = account_of(session, name)
        resume_account(session, account, by=this_user())
    installation.waker.wake()
    print_done(f"account {account.name} is active", _document(account), json=json)


def _document(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "created_at": account.created_at,
        "suspended_at": account.suspended_at,
    }
