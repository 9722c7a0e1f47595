"""`dispatcher notice`: the mails that contacts got, and those that are due."""

from typing import Annotated, Any
from uuid import UUID

import typer

from dispatcher.accounts.owners import owner_of_notice
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import AsJson, print_documents, print_done, print_older
from dispatcher.cli.shared_options import PAGE, AnyWebhook, Before, Limit, OfAccount, Quarantined
from dispatcher.wake import NOTICES
from dispatcher.webhooks.notices import NoticeKind, NoticeRecord, list_notices, release_notice

app = Commands()


@app.command("list")
def list_(
    *,
    context: typer.Context,
    account: OfAccount,
    webhook: AnyWebhook = None,
    kind: Annotated[NoticeKind | None, typer.Option(help="Only of this kind")] = None,
    quarantined: Quarantined = False,
    before: Before = None,
    limit: Limit = PAGE,
    json: AsJson = False,
) -> None:
    """List notices, newest problem first."""
    about = webhook_id(installation_of(context), webhook, account) if webhook is not None else None
    with installation_of(context).transaction() as session:
        owner = account_of(session, account)
        listed, older = list_notices(
            session, owner, webhook=about, kind=kind, quarantined=quarantined or None, before=before, limit=limit
        )
        found = [_document(record) for record in listed]
    columns = {
        "webhook": "webhook",
        "kind": "kind",
        "error": "error",
        "observed": "observed_at",
        "contact": "contact",
        "state": "contact_state",
        "last sent": "last_sent_at",
        "sent": "sent",
        "suppressed": "suppressed",
        "next mail": "due_at",
        "held back": "held_back",
    }
    if quarantined:
        columns = {"id": "id", **columns, "quarantined": "quarantined_at", "why": "quarantined_reason"}
    print_documents(found, columns, json=json, gives_way=["error", "contact"])
    print_older(older)


@app.command(epilog="Example: dispatcher notice release 0198a6df-02bb-7c68-b0a9-2c4e6f8a1b3d")
def release(
    context: typer.Context,
    notice: Annotated[UUID, typer.Argument(metavar="NOTICE", help="Its id: `notice list --quarantined` shows it")],
    json: AsJson = False,
) -> None:
    """Release a quarantined notice.

    Its mail is due at once, unless its error was seen more than a day ago.
    """
    installation = installation_of(context)
    with installation.transaction() as session:
        owner = owner_of_notice(session, notice)
        document = _document(release_notice(session, owner, notice, by=this_user()))
    installation.waker.wake(NOTICES)
    print_done(f"notice {notice} is released", document, json=json)


def _document(record: NoticeRecord) -> dict[str, Any]:
    notice = record.notice
    return {
        "id": notice.id,
        "webhook": notice.webhook_id,
        "webhook_name": record.webhook_name,
        "kind": notice.kind,
        "error": notice.fingerprint,
        "observed_at": notice.observed_at,
        "contact": record.contact,
        "contact_state": record.contact_state,
        "last_sent_at": notice.last_sent_at,
        "sent": notice.sent_count,
        "suppressed": notice.suppressed_count,
        "due_at": notice.due_at,
        "held_back": notice.held_for is not None,
        "quarantined_at": notice.quarantined_at,
        "quarantined_reason": notice.quarantined_reason,
        "delivery": notice.delivery_id,
    }
