"""`dispatcher audit-log`: by whom what was changed."""

import json as json_module
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import ActorKind
from dispatcher.accounts.audit import PAGE, Action, list_entries
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, print_json, print_line, print_table
from dispatcher.db.models import AuditEntry
from dispatcher.ids import time_of


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog="Example: dispatcher audit-log --account acme --action webhook.disabled --since 2025-01-01")(
        audit_log
    )


def audit_log(
    context: typer.Context,
    *,
    account: Annotated[str | None, typer.Option(help="Only what concerns this account.")] = None,
    actor: Annotated[ActorKind | None, typer.Option(help="Only by somebody of this kind.")] = None,
    key: Annotated[UUID | None, typer.Option(help="Only by this API key (id), through a dialect too.")] = None,
    action: Annotated[Action | None, typer.Option(help="Only of this action.")] = None,
    target: Annotated[UUID | None, typer.Option(help="Only on what has this id.")] = None,
    request: Annotated[UUID | None, typer.Option(help="Only by the HTTP request with this id.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only since this time (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only before this time (UTC).")] = None,
    before: Annotated[UUID | None, typer.Option(help="Only older ones: the last id of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = PAGE,
    json: AsJson = False,
) -> None:
    """List who changed what, the last change first: over the API, through dialects, by commands, by response rules."""
    with installation_of(context).transaction() as session:
        found = list_entries(
            session,
            account=find_account(session, account) if account is not None else None,
            actor=actor,
            key=key,
            action=action,
            target=target,
            request=request,
            since=since.replace(tzinfo=UTC) if since else None,
            until=until.replace(tzinfo=UTC) if until else None,
            before=before,
            limit=limit,
        )
    documents = [_document(entry, name) for entry, name in found]
    if json:
        print_json(documents)
        return
    columns = ["id", "time", "by", "user", "action", "account", "target", "detail", "request", "address"]
    names = ["id", "at", "by", "user", "action", "account", "target_id", "detail", "request_id", "address"]
    told = [document | {"detail": json_module.dumps(document["detail"])} for document in documents]
    print_table(columns, [[document[name] for name in names] for document in told])
    if len(documents) == limit:
        print_line(f"older ones: --before {documents[-1]['id']}", stderr=True)


def _document(entry: AuditEntry, account: str | None) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": time_of(entry.id),
        "by": entry.actor,
        "actor": entry.actor_kind,
        "key_id": entry.key_id,
        "dialect": entry.dialect,
        "user": entry.user_label,
        "account": account,
        "action": entry.action,
        "target_kind": entry.target_kind,
        "target_id": entry.target_id,
        "detail": entry.detail,
        "request_id": entry.request_id,
        "address": entry.address,
    }
