"""Sending again to one webhook: `dispatcher event send-again` one event, `dispatcher webhook replay` all that it takes
and did not get."""

import sys
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from dispatcher.accounts.owners import owner_of_event, owner_of_webhook
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import AsJson, at_least, print_done, print_json, shown
from dispatcher.cli.redeliveries import follow, redelivery_document
from dispatcher.cli.shared_options import AnyAccount, FromSince, Until, WebhookName, Yes
from dispatcher.deliveries.bulk_redelivery import MAX_PER_SECOND, PER_SECOND, count, order
from dispatcher.deliveries.missing import kept_since
from dispatcher.deliveries.redelivery import send_to
from dispatcher.deliveries.selection import Counted, replay_of
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
    with installation.transaction() as session:
        owner = account_of(session, account) if account is not None else owner_of_webhook(session, to)
        if dry_run or not yes:
            counted, kept = count(session, owner, selection), kept_since(session, since)
    if dry_run or not yes:
        matched = at_least(counted.matched, complete=counted.is_complete)
        left_out = _left_out(counted, kept)
        if dry_run:
            document = {
                "matched": counted.matched,
                "matched_complete": counted.is_complete,
                "erased": counted.erased,
                "kept_since": kept,
            }
            print_done(f"{matched} would be sent{left_out}", document, json=json)
            return
        if not sys.stdin.isatty():
            raise typer.BadParameter(f"there is no terminal to ask at, and {matched} events match: give --yes")
        typer.confirm(f"Send {matched} events{left_out}, {per_second} a second?", abort=True, err=True)
    defaults = installation.settings.default_limits
    with installation.transaction() as session:
        ordered = order(session, owner, selection, by=this_user(), per_second=per_second, defaults=defaults)
    installation.waker.wake(REDELIVER)
    if json:
        print_json(redelivery_document(owner, ordered))
        return
    follow(installation, owner, ordered)


def _left_out(counted: Counted, kept: datetime | None) -> str:
    erased = f"{counted.erased:,} without a message, which was erased" if counted.erased else None
    gone = f"any before {shown(kept)}, which are no longer kept" if kept is not None else None
    said = " and ".join(filter(None, (erased, gone)))
    return f" (not {said})" if said else ""
