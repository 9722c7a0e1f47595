"""`dispatcher contact`: whom mails go to, and whether they want them."""

from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from dispatcher.accounts.recipients import (
    RecipientRecord,
    find_recipient,
    list_recipients,
    state_of,
)
from dispatcher.accounts.recipients import (
    confirm as confirm_contact,
)
from dispatcher.accounts.recipients import (
    unsubscribe as unsubscribe_contact,
)
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of
from dispatcher.cli.output import AsJson, print_documents, print_done
from dispatcher.cli.shared_options import Before, Limit, OfAccount
from dispatcher.errors import NotFound
from dispatcher.wake import NOTICES

PAGE = 50

app = Commands()

ContactName = Annotated[str, typer.Argument(metavar="CONTACT", help="Its address or id")]


@app.command("list")
def list_(
    *, context: typer.Context, account: OfAccount, before: Before = None, limit: Limit = PAGE, json: AsJson = False
) -> None:
    """List an account's contacts, newest first.

    They are the addresses that its webhooks name, or have named. A confirmed one gets every notice, an unconfirmed one
    a mail in a day without details. One that is unsubscribed, or that declined mails nobody had asked for, gets none.
    """
    with installation_of(context).transaction() as session:
        owner = account_of(session, account)
        found = [_document(record) for record in list_recipients(session, owner, before=before, limit=limit)]
    columns = {
        "id": "id",
        "address": "address",
        "state": "state",
        "webhooks": "webhooks",
        "sent": "sent",
        "last sent": "last_sent_at",
        "held back": "held_back",
        "confirmed by": "confirmed_by",
        "unsubscribed": "unsubscribed_at",
    }
    print_documents(found, columns, json=json, gives_way=["address", "confirmed by"])


@app.command(epilog="Example: dispatcher contact confirm ops@example.com --account acme")
def confirm(context: typer.Context, contact: ContactName, account: OfAccount, json: AsJson = False) -> None:
    """Confirm a contact.

    It gets every notice from now on, also those that were held back. One that had unsubscribed does, too: confirm it
    only if its owner has asked for it.
    """
    installation = installation_of(context)
    with installation.transaction() as session:
        found = _find(session, contact, account)
        confirm_contact(session, found, by=this_user())
        document = _document(find_recipient(session, found))
    installation.waker.wake(NOTICES)
    print_done(f"contact {document['address']} is confirmed", document, json=json)


@app.command(epilog="Example: dispatcher contact unsubscribe ops@example.com --account acme")
def unsubscribe(context: typer.Context, contact: ContactName, account: OfAccount, json: AsJson = False) -> None:
    """Unsubscribe a contact.

    Nothing is mailed to it for this account any more, until it is confirmed by its owner or by `contact confirm`.
    """
    with installation_of(context).transaction() as session:
        found = _find(session, contact, account)
        unsubscribe_contact(session, found, by=this_user())
        document = _document(find_recipient(session, found))
    print_done(f"contact {document['address']} is unsubscribed", document, json=json)


def _find(session: Session, text: str, account: str) -> UUID:
    """Raises NotFound, with a note that says what to do."""
    owner = account_of(session, account)
    try:
        return find_recipient(session, UUID(text), account=owner).recipient.id
    except ValueError:
        found = list_recipients(session, owner, address=text, limit=1) if text.isprintable() else []
    if not found:
        unknown = NotFound("contact", text)
        unknown.add_note("`dispatcher contact list` lists an account's contacts.")
        raise unknown
    return found[0].recipient.id


def _document(record: RecipientRecord) -> dict[str, Any]:
    recipient = record.recipient
    return {
        "id": recipient.id,
        "address": recipient.address,
        "state": state_of(recipient, has_declined=record.has_declined),
        "webhooks": record.webhooks,
        "confirmed_at": recipient.confirmed_at,
        "confirmed_by": recipient.confirmed_by,
        "unsubscribed_at": recipient.unsubscribed_at,
        "unsubscribed_by": recipient.unsubscribed_by,
        "sent": recipient.sent_count,
        "last_sent_at": recipient.last_sent_at,
        "held_back": record.held_back,
    }
