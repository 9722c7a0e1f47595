"""`dispatcher trigger`: sends a sample event, to see how it is delivered."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypedDict
from uuid import UUID

import typer

from dispatcher.accounts import audit
from dispatcher.accounts.audit import Action
from dispatcher.accounts.owners import owner_of_webhook
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import AsJson, print_json, print_line, print_missed, print_misspelt
from dispatcher.event_types import MESSAGE_TYPES, RULE, is_event_type
from dispatcher.events.enqueue import enqueue
from dispatcher.events.event import Data, Event, serialise
from dispatcher.events.nearest import misspelt_types_of, nearest_types_of
from dispatcher.events.samples import sample_message
from dispatcher.installation import Installation
from dispatcher.webhooks.sample_event import call_webhook

app = Commands()


class Sent(TypedDict):
    """What became of one event."""

    event_id: UUID
    deliveries: int
    nearest_types: tuple[str, ...]


@app.command(
    epilog=f"The catalogue: {', '.join(MESSAGE_TYPES)}.\n\n"
    "Example: dispatcher trigger message.inbound.received --account acme"
)
def trigger(
    context: typer.Context,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Its event type, of the catalogue or any other")],
    *,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="To all its webhooks that take the type")] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only to this one (name or id), whatever it takes")
    ] = None,
    app_: Annotated[str | None, typer.Option("--app", metavar="APP", help="The event's app, with --account")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE", help="JSON to send; - is standard input", show_default="a sample")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How many; --json lists them", show_default="1")
    ] = None,
    json: AsJson = False,
) -> None:
    """Send a sample event.

    It takes the path of every event. `dispatcher event show ID` shows its deliveries. Give --account, or --webhook for
    a test event to one webhook, with the webhook's app.
    """
    if (account is None) == (webhook is None):
        raise typer.BadParameter("give --account or --webhook")
    if not is_event_type(event_type):
        raise typer.BadParameter(RULE, param_hint="TYPE")
    message = _read(data) if data is not None else sample_message(event_type)
    installation = installation_of(context)
    if webhook is not None:
        owner, sent = _to_webhook(installation, webhook, event_type, message, count or 1)
    else:
        assert account is not None
        event = Event(type=event_type, data=message, account=account, app=app_)
        owner, sent = _to_account(installation, event, count or 1)
    if sent[0]["deliveries"]:
        print_misspelt(misspelt_types_of([event_type], owner, installation))
    if json:
        print_json(sent if count is not None else sent[0])
        return
    for one in sent:
        deliveries = one["deliveries"]
        print_line(f"event {one['event_id']}: {deliveries} {'delivery' if deliveries == 1 else 'deliveries'}")


def _to_webhook(
    installation: Installation, webhook: str, event_type: str, message: Data, count: int
) -> tuple[str, list[Sent]]:
    """Test events to one webhook. The account's name, and what was sent."""
    called, data, by = webhook_id(installation, webhook), serialise(message), this_user()
    with installation.transaction() as session:
        owner = owner_of_webhook(session, called)
    made = [call_webhook(installation, owner.id, called, by=by, event_type=event_type, data=data) for _ in range(count)]
    return owner.name, [{"event_id": one.event_id, "deliveries": 1, "nearest_types": ()} for one in made]


def _to_account(installation: Installation, given: Event, count: int) -> tuple[str, list[Sent]]:
    """Events like this one, to all webhooks of its account (given by name or id) that take it, in one transaction. The
    account's name, and what was sent."""
    nearest_types: tuple[str, ...] = ()
    with installation.transaction() as session:
        owner = account_of(session, given.account)
        event = replace(given, account=owner.name)
        made = []
        for _ in range(count):
            accepted = enqueue(
                event.type, event.data, account=event.account, app=event.app, session=session, producer=installation
            )
            detail = {"type": event.type, "deliveries": accepted.deliveries}
            audit.write(
                session, this_user(), Action.EVENT_TRIGGERED, accepted.event_id, account=owner.id, detail=detail
            )
            made.append(accepted)
    if not made[0].deliveries:
        nearest_types = nearest_types_of(event, installation)
        print_missed(event.account, event.app, event.type, nearest_types)
    return owner.name, [
        {"event_id": one.event_id, "deliveries": one.deliveries, "nearest_types": nearest_types} for one in made
    ]


def _read(file: str) -> Data:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot be read: {error.strerror}", param_hint="--data") from None
