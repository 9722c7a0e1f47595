"""`dispatcher trigger`: a sample event, to see what becomes of one."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from dispatcher.accounts import audit
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.audit import Action
from dispatcher.accounts.owners import owner_of_webhook
from dispatcher.cli.actor import this_user
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, print_json, print_line, print_missed
from dispatcher.event_types import RULE, is_event_type
from dispatcher.events.enqueue import enqueue
from dispatcher.events.event import Data, Event, serialise
from dispatcher.events.nearest import nearest_types_of
from dispatcher.events.samples import sample_message
from dispatcher.webhooks.sample_event import call_webhook


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog="Example: dispatcher trigger message.inbound.received --account acme")(trigger)


def trigger(
    context: typer.Context,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Its event type, e.g. message.inbound.received.")],
    *,
    account: Annotated[str | None, typer.Option(help="For every webhook of this account that takes the type.")] = None,
    webhook: Annotated[
        UUID | None, typer.Option(help="For this webhook alone, whatever types it takes: a test event.")
    ] = None,
    app: Annotated[
        str | None, typer.Option(help="The event's app; not of a test event, which has the webhook's.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A file with the message, in JSON. Default: a sample for the type.", dir_okay=False),
    ] = None,
    json: AsJson = False,
) -> None:
    """Send a sample event on the way that every event takes. What became of it: dispatcher event show ID."""
    if (account is None) == (webhook is None):
        raise typer.BadParameter("give --account or --webhook")
    if not is_event_type(event_type):
        raise typer.BadParameter(RULE, param_hint="TYPE")
    nearest_types: tuple[str, ...] = ()
    message = _read(data) if data is not None else sample_message(event_type)
    if webhook is not None:
        with installation_of(context).transaction() as session:
            owner = owner_of_webhook(session, webhook)
        event_id, deliveries = (
            call_webhook(
                installation_of(context),
                owner.id,
                webhook,
                by=this_user(),
                event_type=event_type,
                data=serialise(message),
            ).event_id,
            1,
        )
    else:
        assert account is not None
        installation = installation_of(context)
        with installation.transaction() as session:
            accepted = enqueue(event_type, message, account=account, app=app, session=session, producer=installation)
            event_id, deliveries = accepted.event_id, accepted.deliveries
            owner = find_account(session, account)
            detail = {"type": event_type, "deliveries": deliveries}
            audit.write(session, this_user(), Action.EVENT_TRIGGERED, event_id, account=owner.id, detail=detail)
        if not deliveries:
            event = Event(type=event_type, data=message, account=account, app=app)
            nearest_types = nearest_types_of(event, installation)
            print_missed(account, app, event_type, nearest_types)
    if json:
        print_json({"event_id": event_id, "deliveries": deliveries, "nearest_types": nearest_types})
        return
    print_line(f"event {event_id}: {deliveries} {'delivery' if deliveries == 1 else 'deliveries'}")
    if not deliveries:
        print_line(
            f"No webhook of {account} takes {event_type}: dispatcher webhook list --account {account}", stderr=True
        )


def _read(file: Path) -> Data:
    try:
        return file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot be read: {error.strerror}", param_hint="--data") from None
