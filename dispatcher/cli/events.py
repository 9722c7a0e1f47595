"""`dispatcher event`: what was enqueued."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import typer

from dispatcher.accounts.owners import owner_of_event
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of
from dispatcher.cli.output import (
    AsJson,
    print_fields,
    print_json,
    print_older,
    print_section,
    print_table,
    print_text,
)
from dispatcher.cli.shared_options import AnyAccount, Before, Limit, OfAccount, Since, Until
from dispatcher.deliveries.history import PAGE
from dispatcher.deliveries.records import DeliveryLine, EventLine
from dispatcher.events.history import get_event, list_events
from dispatcher.installation import Installation
from dispatcher.masking.messages import Names, mask_message, member_names

Reveal = Annotated[
    bool,
    typer.Option("--reveal", help="Do not mask what DISPATCHER_MASKED_MEMBERS names"),
]

app = Commands()

_EXAMPLES = "Example: dispatcher event list --account acme --subject msg-17"


@app.command("list", epilog=_EXAMPLES)
def list_(
    *,
    context: typer.Context,
    account: OfAccount,
    subject: Annotated[str | None, typer.Option(help="Only about this: the platform's own id or number")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only of this type, or below it")] = None,
    app_: Annotated[str | None, typer.Option("--app", help="Only of this app")] = None,
    since: Since = None,
    until: Until = None,
    undelivered: Annotated[bool, typer.Option("--undelivered", help="Only those that no webhook took")] = False,
    before: Before = None,
    limit: Limit = PAGE,
    json: AsJson = False,
) -> None:
    """List an account's events, newest first."""
    with installation_of(context).transaction() as session:
        page = list_events(
            session,
            account_of(session, account),
            subject=subject,
            event_type=event_type,
            app=app_,
            since=since,
            until=until,
            undelivered=undelivered,
            before=before,
            limit=limit,
        )
    print_older(page.before)
    if json:
        print_json(page.events)
        return
    print_table(
        ["id", "created", "type", "subject", "app", "webhooks"],
        [(item.id, item.created_at, item.type, item.subject, item.app, item.delivery_count) for item in page.events],
        gives_way=["type", "subject", "app"],
    )


@app.command()
def show(
    *,
    context: typer.Context,
    identifier: Annotated[UUID, typer.Argument(metavar="ID", help="The event's id")],
    account: AnyAccount = None,
    reveal: Reveal = False,
    before: Before = None,
    limit: Limit = PAGE,
    json: AsJson = False,
) -> None:
    """Show one event: its message and its deliveries.

    --before and --limit are for its deliveries. Phone numbers and texts in the message are masked unless --reveal is
    given.
    """
    with installation_of(context).transaction() as session:
        owner = account_of(session, account) if account is not None else owner_of_event(session, identifier)
        record = get_event(session, owner, identifier, before=before, limit=limit)
    names = masked_names(installation_of(context), reveal=reveal)
    data = mask_message(record.data, names) if record.data is not None else None
    if json:
        deliveries = {"deliveries": record.page.deliveries, "before": record.page.before}
        document = {"account": owner.name, **event_document(record.event), **deliveries}
        print_json(document, raw_member=("data", data or b"null"))
        return
    print_fields({"account": owner.name, **_fields(record.event)})
    print_section("Message")
    print_text(data.decode(errors="replace") if data is not None else "(erased)")  # a row may hold anything
    print_section("Deliveries")
    print_delivery_table(record.page.deliveries)
    print_older(record.page.before)


def masked_names(installation: Installation, *, reveal: bool) -> Names:
    """The members of messages that are not shown."""
    return frozenset() if reveal else member_names(installation.settings.masked_members)


def event_document(event: EventLine) -> dict[str, Any]:
    """An event's fields by name."""
    return {
        "id": event.id,
        "type": event.type,
        "app": event.app,
        "subject": event.subject,
        "occurred_at": event.occurred_at,
        "created_at": event.created_at,
        "expires_at": event.expires_at,
        "delivery_count": event.delivery_count,
        "traceparent": event.traceparent,
        "erased": event.erased,
    }


def _fields(event: EventLine) -> dict[str, object]:
    return {
        "id": event.id,
        "type": event.type,
        "app": event.app,
        "subject": event.subject,
        "occurred": event.occurred_at,
        "created": event.created_at,
        "expires": event.expires_at,
        "webhooks": event.delivery_count,
        "trace": event.traceparent,
    }


def print_delivery_table(deliveries: Sequence[DeliveryLine]) -> None:
    """Deliveries, one a line."""
    print_table(
        ["id", "state", "reason", "attempts", "due or finished", "type", "subject", "webhook"],
        [
            (
                item.id,
                item.state,
                item.reason,
                item.attempt_count,
                item.finished_at or item.due_at,
                item.event_type,
                item.subject,
                item.webhook_name or item.webhook_url,
            )
            for item in deliveries
        ],
        gives_way=["type", "subject", "webhook"],
    )
