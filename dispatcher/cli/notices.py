"""`dispatcher notice`: what contacts were told, and will be."""

from typing import Annotated, Any
from uuid import UUID

import typer

from dispatcher.accounts.accounts import find_account
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, print_json, print_table
from dispatcher.webhooks.notices import NoticeKind, NoticeRecord, list_notices

PAGE = 50

app = typer.Typer(help="Notices: what the contacts of webhooks were told about problems.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """One command today; it keeps its name."""


@app.command("list")
def list_(
    *,
    context: typer.Context,
    account: Annotated[str, typer.Option(help="The account whose webhooks they are about.")],
    webhook: Annotated[UUID | None, typer.Option(help="Only about this webhook.")] = None,
    kind: Annotated[NoticeKind | None, typer.Option(help="Only of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = PAGE,
    json: AsJson = False,
) -> None:
    """List notices, those of errors that were first seen last in front."""
    with installation_of(context).transaction() as session:
        owner = find_account(session, account)
        found = [_document(record) for record in list_notices(session, owner, webhook=webhook, kind=kind, limit=limit)]
    if json:
        print_json(found)
        return
    columns = {
        "webhook": "webhook",
        "kind": "kind",
        "error": "error",
        "observed": "observed_at",
        "contact": "contact",
        "last sent": "last_sent_at",
        "sent": "sent",
        "since then": "suppressed",
        "next mail": "due_at",
        "held back": "held_back",
    }
    print_table(list(columns), [[document[name] for name in columns.values()] for document in found])


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
