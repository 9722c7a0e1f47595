"""`dispatcher trigger`: sends a sample event, to see how it is delivered."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dispatcher.accounts import audit
from dispatcher.accounts.audit import Action
from dispatcher.accounts.owners import owner_of_webhook
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import AsJson, print_json, print_line, print_missed, print_misspelt
from dispatcher.event_types import RULE, is_event_type
from dispatcher.events.enqueue import enqueue
from dispatcher.events.event import Data, Event, serialise
from dispatcher.events.nearest import misspelt_types_of, nearest_types_of
from dispatcher.events.samples import sample_message
from dispatcher.webhooks.sample_event import call_webhook

app = Commands()


@app.command(epilog="Example: dispatcher trigger message.inbound.received --account acme")
def trigger(
    context: typer.Context,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Its event type, such as message.inbound.received")],
    *,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="To all its webhooks that take the type")] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only to this one (name or id), whatever it takes")
    ] = None,
    app_: Annotated[str | None, typer.Option("--app", metavar="APP", help="The event's app, with --account")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE", help="JSON to send; - is standard input", show_default="a sample")
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
    nearest_types: tuple[str, ...] = ()
    message = _read(data) if data is not None else sample_message(event_type)
    installation = installation_of(context)
    if webhook is not None:
        called = webhook_id(installation, webhook)
        with installation.transaction() as session:
            owner = owner_of_webhook(session, called)
        made = call_webhook(
            installation, owner.id, called, by=this_user(), event_type=event_type, data=serialise(message)
        )
        event_id, deliveries = made.event_id, 1
    else:
        assert account is not None
        with installation.transaction() as session:
            owner = account_of(session, account)
            event = Event(type=event_type, data=message, account=owner.name, app=app_)
            accepted = enqueue(
                event.type, event.data, account=event.account, app=event.app, session=session, producer=installation
            )
            event_id, deliveries = accepted.event_id, accepted.deliveries
            detail = {"type": event_type, "deliveries": deliveries}
            audit.write(session, this_user(), Action.EVENT_TRIGGERED, event_id, account=owner.id, detail=detail)
        if not deliveries:
            nearest_types = nearest_types_of(event, installation)
            print_missed(event.account, event.app, event.type, nearest_types)
    if deliveries:
        print_misspelt(misspelt_types_of([event_type], owner.name, installation))
    if json:
        print_json({"event_id": event_id, "deliveries": deliveries, "nearest_types": nearest_types})
        return
    print_line(f"event {event_id}: {deliveries} {'delivery' if deliveries == 1 else 'deliveries'}")


def _read(file: str) -> Data:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot be read: {error.strerror}", param_hint="--data") from None
