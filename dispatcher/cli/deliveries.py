"""`dispatcher delivery`: lists, shows, redelivers and cancels deliveries."""

from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from dispatcher.accounts.owners import owner_of_delivery, owner_of_event, owner_of_webhook
from dispatcher.cli.actor import this_user
from dispatcher.cli.events import Reveal, event_document, masked_names, print_delivery_table
from dispatcher.cli.explain import documents, print_explanation
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import (
    AsJson,
    print_done,
    print_fields,
    print_json,
    print_line,
    print_older,
    print_section,
    print_text,
)
from dispatcher.cli.shared_options import AnyAccount, AnyWebhook, Before, Limit, Since, Until
from dispatcher.db.models import Account
from dispatcher.deliveries.history import PAGE, get_delivery, list_deliveries
from dispatcher.deliveries.masked import masked
from dispatcher.deliveries.records import AttemptRecord, DeliveryLine
from dispatcher.deliveries.redelivery import cancel as cancel_delivery
from dispatcher.deliveries.redelivery import redeliver as redeliver_delivery
from dispatcher.masking.messages import hidden_in
from dispatcher.states import Reason, State
from dispatcher.webhooks.explanation.reading import explain_one_delivery

app = Commands()

# Such an answer may repeat any message of the batch, and only one of them is known here.
_OF_BATCH = "*** (the answer to a batch: --reveal shows it)"

Identifier = Annotated[UUID, typer.Argument(metavar="ID", help="The delivery's id")]


@app.command("list", epilog="Example: dispatcher delivery list --account acme --state discarded --reason rejected")
def list_(
    *,
    context: typer.Context,
    account: AnyAccount = None,
    webhook: AnyWebhook = None,
    event: Annotated[UUID | None, typer.Option(help="Only of this event")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state")] = None,
    reason: Annotated[Reason | None, typer.Option(help="Only discarded for this")] = None,
    since: Since = None,
    until: Until = None,
    before: Before = None,
    limit: Limit = PAGE,
    json: AsJson = False,
) -> None:
    """List deliveries, newest first.

    Give at least one of --account, --webhook, --event. Times are those of the events.
    """
    due_to = webhook_id(installation_of(context), webhook, account) if webhook is not None else None
    with installation_of(context).transaction() as session:
        page = list_deliveries(
            session,
            _owner_of_list(session, account, due_to, event),
            webhook=due_to,
            event=event,
            state=state,
            reason=reason,
            since=since,
            until=until,
            before=before,
            limit=limit,
        )
    print_older(page.before)
    if json:
        print_json(page.deliveries)
        return
    print_delivery_table(page.deliveries)


@app.command()
def show(
    *,
    context: typer.Context,
    identifier: Identifier,
    account: AnyAccount = None,
    reveal: Reveal = False,
    before: Annotated[
        int | None, typer.Option("--before", metavar="NUMBER", help="Attempts before this one, the first of a page")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show one delivery with its last 100 attempts.

    Each attempt has its request and the captured answer. What an answer repeats of the message is masked, unless
    --reveal is given. The last block says why it is where it is, as `dispatcher explain` does.
    """
    with installation_of(context).transaction() as session:
        owner = _owner(session, account, identifier)
        record = get_delivery(session, owner, identifier, before=before)
        sentences = explain_one_delivery(session, installation_of(context), identifier, exact=True)
    hidden = hidden_in(record.data, masked_names(installation_of(context), reveal=reveal))
    attempts = [masked(attempt, hidden, _OF_BATCH) for attempt in record.attempts]
    if json:
        print_json(
            {
                "account": owner.name,
                "delivery": record.delivery,
                "event": event_document(record.event) if record.event else None,
                "attempts": attempts,
                "before": record.before,
                "explanation": documents(sentences),
            }
        )
        return
    print_fields({"account": owner.name, **_fields(record.delivery)})
    if record.before is not None:
        print_line(f"earlier attempts: --before {record.before}", stderr=True)
    for attempt in attempts:
        _print_attempt(attempt)
    print_section("Explanation")
    print_explanation(sentences)


@app.command(epilog="Example: dispatcher delivery redeliver 0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00")
def redeliver(context: typer.Context, identifier: Identifier, account: AnyAccount = None, json: AsJson = False) -> None:
    """Redeliver a closed delivery at once.

    Its retry schedule starts again.
    """
    installation = installation_of(context)
    with installation.transaction() as session:
        owner = _owner(session, account, identifier)
        redeliver_delivery(session, owner, identifier, installation.timing, by=this_user())
    installation.waker.wake()
    print_done(f"delivery {identifier} is due again", {"id": identifier, "state": State.READY}, json=json)


@app.command()
def cancel(context: typer.Context, identifier: Identifier, account: AnyAccount = None, json: AsJson = False) -> None:
    """Cancel a delivery that waits for its next attempt."""
    with installation_of(context).transaction() as session:
        cancel_delivery(session, _owner(session, account, identifier), identifier, by=this_user())
    print_done(f"delivery {identifier} is cancelled", {"id": identifier, "state": State.CANCELLED}, json=json)


def _owner(session: Session, account: str | None, identifier: UUID) -> Account:
    return account_of(session, account) if account is not None else owner_of_delivery(session, identifier)


def _owner_of_list(session: Session, account: str | None, webhook: UUID | None, event: UUID | None) -> Account:
    if account is not None:
        return account_of(session, account)
    if webhook is not None:
        return owner_of_webhook(session, webhook)
    if event is not None:
        return owner_of_event(session, event)
    raise typer.BadParameter("give one of --account, --webhook, --event")


def _fields(delivery: DeliveryLine) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": delivery.id,
        "state": delivery.state,
        "reason": delivery.reason,
        "attempts": delivery.attempt_count,
        "created": delivery.created_at,
    }
    if delivery.finished_at is None:
        fields |= {"due": delivery.due_at, "given up at": delivery.give_up_at}
    else:
        fields |= {"finished": delivery.finished_at}
    return fields | {
        "event": delivery.event_id,
        "type": delivery.event_type or "(the event is no longer kept)",
        "subject": delivery.subject,
        "webhook": delivery.webhook_id,
        "webhook name": delivery.webhook_name,
        "webhook URL": delivery.webhook_url,
    }


def _print_attempt(attempt: AttemptRecord) -> None:
    if attempt.refused is not None:
        print_section(f"Attempt {attempt.number}, first request: its token was refused")
        _print_request(attempt.refused)
    print_section(f"Attempt {attempt.number}")
    if attempt.outcome_unknown or attempt.request_id is None:
        print_fields({"recorded": attempt.created_at, "outcome": "unknown: the worker died before it could record it"})
        return
    if attempt.method is None:
        verdict = {"verdict": attempt.verdict, "request": f"{attempt.request_id} (no longer kept)"}
        print_fields({"recorded": attempt.created_at, **verdict})
        return
    _print_request(attempt)


def _print_request(attempt: AttemptRecord) -> None:
    answer = attempt.status if attempt.status is not None else f"none: {attempt.failure} ({attempt.failure_detail})"
    print_fields(
        {
            "request": attempt.request_id,
            "started": attempt.started_at,
            "duration": attempt.duration,
            "sent": f"{attempt.method} {attempt.url}",
            "answer": answer,
            "verdict": attempt.verdict,
        }
    )
    if attempt.headers:
        print_line("  Request headers")
        print_text(attempt.headers)
    if attempt.answer_headers:
        print_line("  Answer headers")
        print_text(attempt.answer_headers)
    if attempt.status is not None and attempt.answer_excerpt is None:
        print_line("  Answer headers and body: no longer kept")
    if attempt.answer_excerpt:
        marks = [mark for mark, on in (("cut", attempt.answer_cut), ("not decodable", attempt.answer_unreadable)) if on]
        print_line("  Answer body" + (f" ({', '.join(marks)})" if marks else ""))
        print_text(attempt.answer_excerpt.decode(errors="replace"))
