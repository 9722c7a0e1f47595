"""`dispatcher audit-log`: who changed what."""

from typing import Annotated
from uuid import UUID

import typer

from dispatcher.accounts.actor import ActorKind
from dispatcher.accounts.audit import PAGE, Action, list_entries, shown_entry
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, key_id
from dispatcher.cli.output import AsJson, print_documents, print_older
from dispatcher.cli.shared_options import AnyAccount, Before, Limit, Since, Until

app = Commands()


@app.command(epilog="Example: dispatcher audit-log --account acme --action webhook.disabled --since 2d")
def audit_log(
    context: typer.Context,
    *,
    account: AnyAccount = None,
    actor: Annotated[ActorKind | None, typer.Option(help="Only by this kind of actor")] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only by this API key (id or name)")] = None,
    action: Annotated[Action | None, typer.Option(help="Only this action")] = None,
    target: Annotated[UUID | None, typer.Option(help="Only changes of the target with this id")] = None,
    request: Annotated[UUID | None, typer.Option(help="Only by the HTTP request with this id")] = None,
    since: Since = None,
    until: Until = None,
    before: Before = None,
    limit: Limit = PAGE,
    json: AsJson = False,
) -> None:
    """List who changed what, newest first.

    Changes are made through the API, dialects, commands and response rules.
    """
    with installation_of(context).transaction() as session:
        found, older = list_entries(
            session,
            account=account_of(session, account) if account is not None else None,
            actor=actor,
            key=key_id(session, key) if key is not None else None,
            action=action,
            target=target,
            request=request,
            since=since,
            until=until,
            before=before,
            limit=limit,
        )
    documents = [shown_entry(entry, name) for entry, name in found]
    columns = ("id", "time", "by", "user", "action", "account", "target", "detail", "request", "address")
    members = ("id", "at", "by", "user", "action", "account", "target_id", "detail", "request_id", "address")
    print_documents(documents, dict(zip(columns, members, strict=True)), json=json, gives_way=["user", "detail"])
    print_older(older)
