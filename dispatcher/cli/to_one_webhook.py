"""Sending again to one webhook: `dispatcher event send-again` one event, `dispatcher webhook replay` all that it takes
and did not get."""

import sys
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from dispatcher.accounts.owners import owner_of_event, owner_of_webhook
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import AsJson, at_least, print_done, print_json, print_line, shown
from dispatcher.cli.redeliveries import follow, redelivery_document
from dispatcher.cli.shared_options import AnyAccount, FromSince, Until, WebhookName, Yes
from dispatcher.db.models import Account
from dispatcher.deliveries.bulk_redelivery import MAX_PER_SECOND, PER_SECOND, count, order
from dispatcher.deliveries.missing import kept_since
from dispatcher.deliveries.redelivery import send_to
from dispatcher.deliveries.selection import replay_of
from dispatcher.wake import REDELIVER

app = Commands()


@app.command(epilog="Example: dispatcher event send-again 0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00 --webhook orders")
def send_again(
    *,
    context: typer.Context,
    identifier: Annotated[UUID, typer.Argument(metavar="ID", help="The event's id")],
    webhook: Annotated[str, typer.Option(metavar="NAME", help="To this webhook (name or id)")],
    account: AnyAccount = None,
    json: AsJson = False,
) -> None:
    """Send an event to one webhook at once.

    Also one that no webhook took, or that has expired, and whatever types the webhook takes.
    """
    installation = installation_of(context)
    with installation.transaction() as session:
        owner = account_of(session, account) if account is not None else owner_of_event(session, identifier)
    to = webhook_id(installation, webhook, owner.name)
    with installation.transaction() as session:
        sent = send_to(session, owner, identifier, to, installation.timing, by=this_user())
    if sent.is_opened:
        installation.waker.wake()
    how = "is due" if sent.is_opened else "is on its way already"
    document = {"delivery_id": sent.delivery_id, "opened": sent.is_opened}
    print_done(f"delivery {sent.delivery_id} of it {how}", document, json=json)


@app.command(epilog="Example: dispatcher webhook replay orders --since 2d --dry-run")
def replay(
    *,
    context: typer.Context,
    webhook: WebhookName,
    since: FromSince,
    until: Until = None,
    delivered: Annotated[bool, typer.Option("--delivered", help="Also what it has got already")] = False,
    account: AnyAccount = None,
    per_second: Annotated[int, typer.Option(min=1, max=MAX_PER_SECOND, help="Deliveries a second")] = PER_SECOND,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Send a webhook what it takes and did not get.

    For one that is new, was repaired or takes more than before. Workers do the work; the progress is shown until it is
    done. Ctrl-C ends the display, not the work. With --json the command prints the order and does not wait. Times are
    those of the events.
    """
    installation = installation_of(context)
    to = webhook_id(installation, webhook, account)
    selection = replay_of(to, since=since, until=until, delivered=delivered)
    if dry_run or not yes:
        with installation.transaction() as session:
            counted = count(session, _owner(session, account, to), selection)
            kept = kept_since(session, since)
        matched = at_least(counted.matched, complete=counted.is_complete)
        if dry_run:
            complete = {"matched": counted.matched, "matched_complete": counted.is_complete}
            document = {**complete, "erased": counted.erased, "kept_since": kept}
            print_done(f"{matched} would be sent", document, json=json)
        _tell_left_out(counted.erased, kept)
        if dry_run:
            return
        if not sys.stdin.isatty():
            raise typer.BadParameter(f"there is no terminal to ask at, and {matched} events match: give --yes")
        typer.confirm(f"Send {matched} events, {per_second} a second?", abort=True, err=True)
    defaults = installation.settings.default_limits
    with installation.transaction() as session:
        owner = _owner(session, account, to)
        ordered = order(session, owner, selection, by=this_user(), per_second=per_second, defaults=defaults)
    installation.waker.wake(REDELIVER)
    if json:
        print_json(redelivery_document(owner, ordered))
        return
    follow(installation, owner, ordered)


def _owner(session: Session, account: str | None, webhook: UUID) -> Account:
    return account_of(session, account) if account is not None else owner_of_webhook(session, webhook)


def _tell_left_out(erased: int, kept: datetime | None) -> None:
    if erased:
        print_line(f"besides, {erased:,} cannot be sent: their message was erased", stderr=True)
    if kept is not None:
        print_line(f"events before {shown(kept)} are no longer kept, if there were any", stderr=True)
