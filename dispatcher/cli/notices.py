"""`dispatcher notice`: the mails that contacts got, and those that are due."""

from typing import Annotated, Any

import typer

from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import AsJson, print_documents
from dispatcher.cli.shared_options import AnyWebhook, Limit, OfAccount
from dispatcher.webhooks.notices import NoticeKind, NoticeRecord, list_notices

PAGE = 50

app = Commands()


@app.command("list")
def list_(
    *,
    context: typer.Context,
    account: OfAccount,
    webhook: AnyWebhook = None,
    kind: Annotated[NoticeKind | None, typer.Option(help="Only of this kind")] = None,
    limit: Limit = PAGE,
    json: AsJson = False,
) -> None:
    """List notices, newest problem first."""
    about = webhook_id(installation_of(context), webhook, account) if webhook is not None else None
    with installation_of(context).transaction() as session:
        owner = account_of(session, account)
        found = [_document(record) for record in list_notices(session, owner, webhook=about, kind=kind, limit=limit)]
    columns = {
        "webhook": "webhook",
        "kind": "kind",
        "error": "error",
        "observed": "observed_at",
        "contact": "contact",
        "last sent": "last_sent_at",
        "sent": "sent",
        "suppressed": "suppressed",
        "next mail": "due_at",
        "held back": "held_back",
    }
    print_documents(found, columns, json=json, gives_way=["error", "contact"])


def _document(record: NoticeRecord) -> dict[str, Any]:
    notice = record.notice
    return {
        "webhook": notice.webhook_id,
        "webhook_name": record.webhook_name,
        "kind": notice.kind,
        "error": notice.fingerprint,
        "observed_at": notice.observed_at,
        "contact": record.contact,
        "last_sent_at": notice.last_sent_at,
        "sent": notice.sent_count,
        "suppressed": notice.suppressed_count,
        "due_at": notice.due_at,
        "held_back": notice.held_for is not None,
        "delivery": notice.delivery_id,
    }
