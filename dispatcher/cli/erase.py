"""`dispatcher erase`: messages that must not be kept any longer."""

import sys
import time
from typing import Annotated

import typer

from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of
from dispatcher.cli.output import AsJson, at_least, console, print_done, print_line
from dispatcher.cli.progress import Counting
from dispatcher.cli.shared_options import AnyAccount, Yes
from dispatcher.events.erasure import COUNTED, Erasure, Found

app = Commands()

WAIT_SECONDS = 180.0  # for attempts that are being made: longer than a claim lasts
_LOOK_EVERY = 2.0


@app.command(epilog="Example: dispatcher erase --account acme --subject msg-17 --dry-run")
def erase(
    *,
    context: typer.Context,
    subject: Annotated[str | None, typer.Option(help="Only about this, in all accounts or in that one")] = None,
    account: AnyAccount = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count it")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Erase messages for good, with what was answered to them.

    Give --subject, --account, or both. Messages, subjects and captured answers go; open deliveries are cancelled.
    Events, deliveries and attempts stay, without content. It can be stopped and run again. It needs the tables' owner.
    Exit status: 0 all is erased, 1 something is still being attempted: run it again.
    """
    if subject is None and account is None:
        raise typer.BadParameter("give --subject, --account, or both")
    installation = installation_of(context)
    owner = None
    if account is not None:
        with installation.transaction() as session:
            owner = account_of(session, account, deleted=True).id
    erasure = Erasure(installation.engine, account=owner, subject=subject)
    if dry_run or not yes:
        found = erasure.count()
        if dry_run:
            print_done(_in_words(found), _document(found, erasure), json=json)
            return
        if not sys.stdin.isatty():
            raise typer.BadParameter("there is no terminal to ask at, and it cannot be undone: give --yes")
        typer.confirm(f"{_in_words(found)}. Erase them for good?", abort=True, err=True)
    counting, done = Counting(console(stderr=True), "events erased"), erasure.done
    try:
        with counting.shown():
            _run(erasure, counting)
    except KeyboardInterrupt:
        print_line(f"stopped after {done.events:,} events: run it again for the rest", stderr=True)
        raise typer.Exit(130) from None
    document = {"events": done.events, "deliveries_cancelled": done.deliveries, "events_left": done.left}
    print_done(f"{done.events:,} events erased; {done.deliveries:,} open deliveries cancelled", document, json=json)
    if done.left:
        print_line(f"{done.left:,} events are being attempted at this moment: run it again", stderr=True)
        raise typer.Exit(1)


def _run(erasure: Erasure, counting: Counting) -> None:
    """Erases; what is being attempted is erased when that has ended."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        erasure.run(by=this_user(), progress=lambda: counting.reach(erasure.done.events))
        if not erasure.done.left or time.monotonic() >= until:
            return
        time.sleep(_LOOK_EVERY)


def _in_words(found: Found) -> str:
    events = at_least(found.events, complete=found.events < COUNTED)
    return f"messages to erase: {events}; open deliveries to cancel: {found.open_deliveries:,}"


def _document(found: Found, erasure: Erasure) -> dict[str, object]:
    return {
        "events": found.events,
        "events_complete": found.events < COUNTED,
        "open_deliveries": found.open_deliveries,
        "accounts": len(erasure.accounts),
    }
