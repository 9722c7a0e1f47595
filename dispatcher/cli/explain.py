"""`dispatcher explain`: why a delivery, an event or a webhook is where it is, in sentences."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from dispatcher.accounts.owners import owner_of_delivery, owner_of_event, owner_of_webhook
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, console, print_json, print_line, print_older, print_section, print_sentence
from dispatcher.cli.shared_options import Before, Limit
from dispatcher.db.models import Account
from dispatcher.deliveries.history import PAGE, get_delivery, list_deliveries, states_of_event
from dispatcher.deliveries.records import DeliveryLine
from dispatcher.errors import NotFound
from dispatcher.events.history import get_event_line
from dispatcher.installation import Installation
from dispatcher.webhooks.explanation.reading import (
    Found,
    Kind,
    explain_deliveries,
    explain_health,
    explain_one_delivery,
    explain_stored_event,
    find,
)
from dispatcher.webhooks.explanation.words import Code, Sentence, counted
from dispatcher.webhooks.health import health_of
from dispatcher.webhooks.store import Webhooks

app = Commands()

# What to type for what can be done; the names are the sentence's parameters.
_COMMANDS = {
    Code.CAN_REDELIVER: ("dispatcher delivery redeliver {delivery_id}",),
    Code.CAN_SEND: ("dispatcher event send-again {event_id} --webhook NAME",),
    Code.CAN_CANCEL: ("dispatcher delivery cancel {delivery_id}",),
    Code.CAN_SEND_AT_ONCE: (
        "dispatcher delivery cancel {delivery_id}",
        "dispatcher delivery redeliver {delivery_id}",
    ),
    Code.CAN_ENABLE: ("dispatcher webhook enable {webhook_id}",),
    Code.CAN_TRY_AT_ONCE: ("dispatcher webhook enable {webhook_id}",),
    Code.CAN_RELEASE: ("dispatcher webhook release {webhook_id}",),
    Code.CAN_RESUME: ("dispatcher account resume {account}",),
}


@app.command(epilog="Example: dispatcher explain 0198a6de-3c1f-7d07-8b1d-3f0a52c4e6b1")
def explain(
    context: typer.Context,
    identifier: Annotated[UUID, typer.Argument(metavar="ID", help="Of an event, delivery, webhook or request")],
    before: Before = None,
    limit: Limit = PAGE,
    json: AsJson = False,
) -> None:
    """Explain why something is where it is.

    Why a delivery, the deliveries of an event, or a webhook are where they are, what happens next and when, and what
    can be done. The id of a request leads to its deliveries. --before and --limit are for events.
    """
    installation = installation_of(context)
    with installation.transaction() as session:
        found = find(session, identifier)
        match found.kind:
            case Kind.EVENT:
                _explain_event(session, installation, identifier, before, limit, json=json)
            case Kind.DELIVERY:
                _explain_delivery(session, installation, identifier, json=json)
            case Kind.WEBHOOK:
                _explain_webhook(session, installation, identifier, json=json)
            case Kind.REQUEST:
                _explain_request(session, installation, identifier, found, json=json)


def documents(sentences: Iterable[Sentence]) -> list[dict[str, Any]]:
    """Sentences for programs."""
    return [asdict(sentence) for sentence in sentences]


def print_explanation(sentences: Iterable[Sentence]) -> None:
    """Sentences for people, each with what to type."""
    for sentence in sentences:
        commands = " and ".join(f"`{each.format(**sentence.parameters)}`" for each in _COMMANDS.get(sentence.code, ()))
        line = f"{sentence.text.removesuffix('.')}: {commands}" if commands else sentence.text
        print_sentence(line, console(), indent="  ")


def _explain_delivery(session: Session, installation: Installation, delivery: UUID, *, json: bool) -> None:
    owner = owner_of_delivery(session, delivery)
    line = get_delivery(session, owner, delivery, limit=1).delivery
    sentences = explain_one_delivery(session, installation, delivery, exact=True)
    if json:
        print_json({"kind": Kind.DELIVERY, "account": owner.name, **_document(line, sentences)})
        return
    _print_head(f"Delivery {delivery}", f"{_state(line)}, {line.event_type or 'event gone'} to {_webhook(line)}", owner)
    print_explanation(sentences)


def _explain_event(
    session: Session, installation: Installation, event_id: UUID, before: UUID | None, limit: int, *, json: bool
) -> None:
    owner = owner_of_event(session, event_id)
    event = get_event_line(session, owner, event_id)
    page = list_deliveries(session, owner, event=event_id, before=before, limit=limit)
    lines, older = page.deliveries, page.before
    sentences = explain_stored_event(session, owner, event, states_of_event(session, event_id))
    of_each = explain_deliveries(session, installation, [line.id for line in lines], exact=True)
    if json:
        deliveries = [_document(line, of_each.get(line.id, ())) for line in lines]
        own = {"id": event_id, "type": event.type, "app": event.app, "explanation": documents(sentences)}
        print_json({"kind": Kind.EVENT, "account": owner.name, **own, "deliveries": deliveries, "before": older})
        return
    _print_head(f"Event {event_id}", event.type, owner)
    print_explanation(sentences)
    _print_deliveries(lines, of_each)
    print_older(older)


def _explain_webhook(session: Session, installation: Installation, webhook_id: UUID, *, json: bool) -> None:
    owner = owner_of_webhook(session, webhook_id)
    webhooks = Webhooks(session, installation)
    webhook = webhooks.get(owner, webhook_id, deleted=True)
    health, unreadable = health_of(session, webhook), webhooks.opened(webhook, owner, None).unreadable
    sentences = explain_health(session, installation, webhook_id, health, unreadable, exact=True)
    if json:
        own = {"id": webhook_id, "name": webhook.name, "url": webhook.url_masked, "explanation": documents(sentences)}
        print_json({"kind": Kind.WEBHOOK, "account": owner.name, **own})
        return
    _print_head(f"Webhook {webhook_id}", webhook.name or webhook.url_masked, owner)
    print_explanation(sentences)


def _explain_request(session: Session, installation: Installation, request: UUID, found: Found, *, json: bool) -> None:
    assert found.webhook is not None
    owner = owner_of_webhook(session, found.webhook)
    lines = [get_delivery(session, owner, delivery, limit=1).delivery for delivery in found.deliveries]
    if not lines:
        unknown = NotFound("delivery of the request", request)
        unknown.add_note(f"Its webhook: `dispatcher explain {found.webhook}`.")
        raise unknown
    of_each = explain_deliveries(session, installation, [line.id for line in lines], exact=True)
    if json:
        deliveries = [_document(line, of_each.get(line.id, ())) for line in lines]
        own = {"id": request, "webhook_id": found.webhook, "messages": found.messages, "deliveries": deliveries}
        print_json({"kind": Kind.REQUEST, "account": owner.name, **own})
        return
    carried = "" if found.messages is None else f"{counted(found.messages, 'messages')} "
    _print_head(f"Request {request}", f"{carried}to {_webhook(lines[0])}", owner)
    _print_deliveries(lines, of_each)


def _print_head(what: str, more: str, owner: Account) -> None:
    print_line(f"{what} of account {owner.name}: {more}")


def _print_deliveries(lines: Sequence[DeliveryLine], of_each: Mapping[UUID, Sequence[Sentence]]) -> None:
    for line in lines:
        print_section(f"Delivery {line.id} to {_webhook(line)}: {_state(line)}")
        print_explanation(of_each.get(line.id, ()))


def _document(line: DeliveryLine, sentences: Iterable[Sentence]) -> dict[str, Any]:
    return {
        "id": line.id,
        "state": line.state,
        "reason": line.reason,
        "event_id": line.event_id,
        "webhook_id": line.webhook_id,
        "webhook_name": line.webhook_name,
        "explanation": documents(sentences),
    }


def _state(line: DeliveryLine) -> str:
    return f"{line.state} ({line.reason})" if line.reason is not None else line.state


def _webhook(line: DeliveryLine) -> str:
    return line.webhook_name or line.webhook_url
