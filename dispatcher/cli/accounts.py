"""`dispatcher account`: who owns webhooks and events."""

import sys
from typing import Annotated, Any

import typer

from dispatcher.accounts.accounts import accounts_page, create_account
from dispatcher.accounts.lifecycle import COUNTED, Contents, contents_of
from dispatcher.accounts.lifecycle import delete as delete_account
from dispatcher.accounts.lifecycle import resume as resume_account
from dispatcher.accounts.lifecycle import suspend as suspend_account
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of
from dispatcher.cli.output import AsJson, at_least, print_documents, print_done, print_json, print_older, print_table
from dispatcher.cli.shared_options import PAGE, Before, Limit, Yes
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
def list_(context: typer.Context, before: Before = None, limit: Limit = PAGE, json: AsJson = False) -> None:
    """List accounts, newest first."""
    with installation_of(context).transaction() as session:
        accounts = accounts_page(session, before=before, limit=limit)
    columns = {
        "name": "name",
        "id": "id",
        "created": "created_at",
        "suspended": "suspended_at",
        "being deleted": "deleted_at",
    }
    print_documents(list(map(_document, accounts)), columns, json=json)
    print_older(accounts[-1].id if len(accounts) == limit else None)


@app.command()
def show(context: typer.Context, name: AccountName, json: AsJson = False) -> None:
    """Show one account and what it has.

    While it is being deleted: what is still to be removed.
    """
    with installation_of(context).transaction() as session:
        account = account_of(session, name, deleted=True)
        document, contents = _document(account), contents_of(session, account)
    if json:
        print_json(document | contents._asdict())
    else:
        document |= {kind: at_least(count, complete=count < COUNTED) for kind, count in contents._asdict().items()}
        print_table(["", "value"], [(member.replace("_", " "), value) for member, value in document.items()])


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


@app.command(epilog="Example: dispatcher account delete acme")
def delete(context: typer.Context, name: AccountName, yes: Yes = False, json: AsJson = False) -> None:
    """Delete an account for good.

    At once nothing is taken or sent, and its keys are revoked. Its webhooks and deliveries are removed in steps, the
    account last. Until then its name is in use.
    """
    installation = installation_of(context)
    with installation.transaction() as session:
        account = account_of(session, name, deleted=True)
        contents = contents_of(session, account)
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("there is no terminal to ask at, and it cannot be undone: give --yes")
        typer.confirm(f"Delete account {account.name} ({_in_words(contents)})?", abort=True, err=True)
    with installation.transaction() as session:
        account = session.get_one(Account, account.id)
        delete_account(session, account, by=this_user())
    print_done(f"account {account.name} is being deleted ({_in_words(contents)})", _document(account), json=json)


def _document(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "created_at": account.created_at,
        "suspended_at": account.suspended_at,
        "deleted_at": account.deleted_at,
    }


def _in_words(contents: Contents) -> str:
    counts = contents._asdict().items()
    return ", ".join(f"{kind}: {at_least(count, complete=count < COUNTED)}" for kind, count in counts)
