"""Bulk redeliveries: `dispatcher delivery redeliver-many` starts one, `dispatcher redelivery` follows it."""

import sys
import time
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from dispatcher.accounts.owners import owner_of_redelivery, owner_of_webhook
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import (
    AsJson,
    at_least,
    console,
    print_done,
    print_fields,
    print_json,
    print_line,
    print_older,
    print_table,
)
from dispatcher.cli.progress import Counting
from dispatcher.cli.shared_options import PAGE, AnyAccount, AnyWebhook, Before, Limit, OfAccount, Since, Until, Yes
from dispatcher.db.models import Account, BulkRedelivery
from dispatcher.deliveries.bulk_redelivery import (
    MAX_PER_SECOND,
    PER_SECOND,
    count,
    get,
    list_of,
    order,
    skipped,
)
from dispatcher.deliveries.bulk_redelivery import cancel as cancel_redelivery
from dispatcher.deliveries.selection import MISSING, Selection
from dispatcher.installation import Installation
from dispatcher.states import Reason, State
from dispatcher.wake import REDELIVER

app = Commands()

Identifier = Annotated[UUID, typer.Argument(metavar="ID", help="The bulk redelivery's id")]

# As other commands name them.
_LABELS = {
    "event_type": "type",
    "per_second": "a second",
    "created_at": "ordered",
    "finished_at": "finished",
    "cancelled_at": "cancelled",
}
_LOOK_EVERY = 0.5


@app.command(epilog="Example: dispatcher delivery redeliver-many --account acme --reason exhausted --since 2d")
def redeliver_many(
    *,
    context: typer.Context,
    account: AnyAccount = None,
    webhook: AnyWebhook = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only of this event type, or below it")] = None,
    state: Annotated[list[State] | None, typer.Option(help="Only in this state", show_default="discarded")] = None,
    reason: Annotated[Reason | None, typer.Option(help="Only discarded for this")] = None,
    since: Since = None,
    until: Until = None,
    per_second: Annotated[int, typer.Option(min=1, max=MAX_PER_SECOND, help="Deliveries a second")] = PER_SECOND,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Redeliver many closed deliveries.

    Give --account or --webhook. Workers do the work; the progress is shown until it is done. Ctrl-C ends the display,
    not the work. With --json the command prints the order and does not wait. Times are those of the events.
    """
    due_to = webhook_id(installation_of(context), webhook, account) if webhook is not None else None
    selection = Selection(
        webhook=due_to,
        event_type=event_type,
        states=tuple(dict.fromkeys(state or [State.DISCARDED])),
        reason=reason,
        since=since,
        until=until,
    )
    if dry_run or not yes:
        with installation_of(context).transaction() as session:
            counted = count(session, _owner_for_order(session, account, due_to), selection)
        matched = at_least(counted.matched, complete=counted.is_complete)
        if dry_run:
            document = {"matched": counted.matched, "matched_complete": counted.is_complete}
            print_done(f"{matched} would be redelivered", document, json=json)
            return
        if not sys.stdin.isatty():
            raise typer.BadParameter(f"there is no terminal to ask at, and {matched} deliveries match: give --yes")
        typer.confirm(f"Redeliver {matched} deliveries, {per_second} a second?", abort=True, err=True)
    defaults = installation_of(context).settings.default_limits
    with installation_of(context).transaction() as session:
        owner = _owner_for_order(session, account, due_to)
        ordered = order(session, owner, selection, by=this_user(), per_second=per_second, defaults=defaults)
    installation_of(context).waker.wake(REDELIVER)
    if json:
        print_json(redelivery_document(owner, ordered))
        return
    follow(installation_of(context), owner, ordered)


@app.command("list")
def list_(
    context: typer.Context,
    account: OfAccount,
    before: Before = None,
    limit: Limit = PAGE,
    json: AsJson = False,
) -> None:
    """List an account's bulk redeliveries, newest first."""
    with installation_of(context).transaction() as session:
        owner = account_of(session, account)
        found = list_of(session, owner, before=before, limit=limit)
    print_older(found[-1].id if len(found) == limit else None)
    if json:
        print_json([redelivery_document(owner, item) for item in found])
        return
    print_table(
        ["id", "ordered", "matched", "redelivered", "a second", "state"],
        [(item.id, item.created_at, _matched(item), item.redelivered, item.per_second, _state(item)) for item in found],
    )


@app.command()
def show(context: typer.Context, identifier: Identifier, account: AnyAccount = None, json: AsJson = False) -> None:
    """Show a bulk redelivery: its filter and progress."""
    with installation_of(context).transaction() as session:
        owner = _owner(session, account, identifier)
        item = get(session, owner, identifier)
        document = redelivery_document(owner, item)
    if json:
        print_json(document)
    else:
        document["matched"] = _matched(item)
        del document["matched_complete"]
        print_fields({_LABELS.get(name, name): value for name, value in document.items()})


@app.command()
def cancel(context: typer.Context, identifier: Identifier, account: AnyAccount = None, json: AsJson = False) -> None:
    """Cancel the rest of a bulk redelivery.

    What it has redelivered already is still sent.
    """
    with installation_of(context).transaction() as session:
        owner = _owner(session, account, identifier)
        ended = cancel_redelivery(session, owner, identifier, by=this_user())
    line = f"bulk redelivery {identifier} is cancelled after {ended.redelivered:,} of {_matched(ended)}"
    print_done(line, redelivery_document(owner, ended), json=json)


def follow(installation: Installation, owner: Account, ordered: BulkRedelivery) -> None:
    """Shows the progress until the bulk redelivery or the replay ends, or until Ctrl-C."""
    what, done = ("replay", "sent") if MISSING in ordered.states else ("bulk redelivery", "redelivered")
    counting = Counting(console(stderr=True), f"of {_matched(ordered)} {done}")
    now = ordered
    try:
        with counting.shown():
            while now.finished_at is None and now.cancelled_at is None:
                time.sleep(_LOOK_EVERY)
                with installation.transaction() as session:
                    now = get(session, owner, ordered.id)
                counting.what = f"of {_matched(now)} {done}"
                counting.reach(now.redelivered)
    except KeyboardInterrupt:
        print_line(f"it continues; to see its progress: `dispatcher redelivery show {ordered.id}`", stderr=True)
        print_line(f"to cancel it: `dispatcher redelivery cancel {ordered.id}`", stderr=True)
        raise typer.Exit(130) from None
    left = "" if not skipped(now) else f"; {skipped(now):,} had changed meanwhile and were skipped"
    print_line(f"{what} {now.id} is {_state(now)}: {now.redelivered:,} {done}{left}")


def _owner(session: Session, account: str | None, identifier: UUID) -> Account:
    return account_of(session, account) if account is not None else owner_of_redelivery(session, identifier)


def _owner_for_order(session: Session, account: str | None, webhook: UUID | None) -> Account:
    if account is not None:
        return account_of(session, account)
    if webhook is not None:
        return owner_of_webhook(session, webhook)
    raise typer.BadParameter("give one of --account, --webhook")


def _state(item: BulkRedelivery) -> str:
    if item.cancelled_at is not None:
        return "cancelled"
    return "finished" if item.finished_at is not None else "open"


def _matched(item: BulkRedelivery) -> str:
    return at_least(item.matched, complete=not item.counting)


def redelivery_document(owner: Account, item: BulkRedelivery) -> dict[str, Any]:
    """A bulk redelivery, or a replay, for programs."""
    return {
        "id": item.id,
        "account": owner.name,
        "webhook": item.webhook_id,
        "event_type": item.event_type,
        "states": item.states,
        "reason": item.reason,
        "since": item.since,
        "until": item.until,
        "per_second": item.per_second,
        "matched": item.matched,
        "matched_complete": not item.counting,
        "redelivered": item.redelivered,
        "skipped": skipped(item),
        "created_at": item.created_at,
        "finished_at": item.finished_at,
        "cancelled_at": item.cancelled_at,
    }
