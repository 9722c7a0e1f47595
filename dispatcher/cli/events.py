"""`dispatcher event`: what was enqueued."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.owners import owner_of_event
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import (
    AsJson,
    print_fields,
    print_json,
    print_line,
    print_section,
    print_table,
    print_text,
)
from dispatcher.deliveries.history import PAGE
from dispatcher.deliveries.records import DeliveryLine, EventLine
from dispatcher.events.history import get_event, list_events
from dispatcher.installation import Installation
from dispatcher.masking.messages import Names, mask_message, member_names

Reveal = Annotated[
    bool,
    typer.Option("--reveal", help="Show the members that DISPATCHER_MASKED_MEMBERS names in clear."),
]

app = typer.Typer(help="Events: what was enqueued, and to how many webhooks it was owed.", no_args_is_help=True)

_EXAMPLES = "Example: dispatcher event list --account acme --subject msg-17"


@app.command("list", epilog=_EXAMPLES)
def list_(
    *,
    context: typer.Context,
    account: Annotated[str, typer.Option(help="The account whose events these are.")],
    subject: Annotated[str | None, typer.Option(help="Only about this: the platform's own id or number.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only of this type, or below it.")] = None,
    app_: Annotated[str | None, typer.Option("--app", help="Only of this app.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only those that came in at this time (UTC) or later.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only those that came in before this time (UTC).")] = None,
    undelivered: Annotated[bool, typer.Option("--undelivered", help="Only those that no webhook took.")] = False,
    before: Annotated[UUID | None, typer.Option(help="Only older ones than this event.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = PAGE,
    json: AsJson = False,
) -> None:
    """List an account's events, newest first."""
    with installation_of(context).transaction() as session:
        page = list_events(
            session,
            find_account(session, account),
            subject=subject,
            event_type=event_type,
            app=app_,
            since=since.replace(tzinfo=UTC) if since else None,
            until=until.replace(tzinfo=UTC) if until else None,
            undelivered=undelivered,
            before=before,
            limit=limit,
        )
    if json:
        print_json(page.events)
        return
    print_table(
        ["id", "came in", "type", "subject", "app", "webhooks"],
        [(item.id, item.created_at, item.type, item.subject, item.app, item.delivery_count) for item in page.events],
    )
    if page.before is not None:
        print_line(f"older ones: --before {page.before}", stderr=True)


@app.command()
def show(
    context: typer.Context,
    identifier: Annotated[UUID, typer.Argument(metavar="ID", help="The event's id.")],
    account: Annotated[str | None, typer.Option(help="Only if it is this account's.")] = None,
    reveal: Reveal = False,
    json: AsJson = False,
) -> None:
    """Show one event: its message, masked unless --reveal says otherwise, and its deliveries."""
    with installation_of(context).transaction() as session:
        owner = find_account(session, account) if account is not None else owner_of_event(session, identifier)
        record = get_event(session, owner, identifier)
    data = mask_message(record.data, masked_names(installation_of(context), reveal=reveal))
    if json:
        document = {"account": owner.name, **event_document(record.event), "deliveries": record.deliveries}
        print_json(document, raw_member=("data", data))
        return
    print_fields({"account": owner.name, **event_document(record.event)})
    print_section("Message")
    print_text(data.decode())
    print_section("Deliveries")
    print_delivery_table(record.deliveries)


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
    }


def print_delivery_table(deliveries: Sequence[DeliveryLine]) -> None:
    """Deliveries, a line each."""
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
    )
