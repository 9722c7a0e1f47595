"""`dispatcher enqueue`: the messages of an NDJSON file, each as an event."""

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, BinaryIO

import typer

from dispatcher.accounts.accounts import find_account
from dispatcher.cli.installed import installation_of
from dispatcher.cli.ndjson import Recipe, read_lines
from dispatcher.cli.output import AsJson, console, print_json, print_line, print_missed
from dispatcher.cli.progress import Counting
from dispatcher.errors import DispatcherError, InvalidEvent
from dispatcher.event_types import RULE, is_event_type
from dispatcher.events.enqueue import enqueue_many
from dispatcher.events.event import Accepted, Event, Refused
from dispatcher.installation import Installation


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        epilog="Example: dispatcher enqueue --account acme --type message.outbound.sent --subject-member id "
        "messages.ndjson"
    )(enqueue)


@dataclass(slots=True)
class _Tally:
    accepted: int = 0
    repeated: int = 0
    refused: int = 0
    deliveries: int = 0
    nearest_types: tuple[str, ...] = ()
    rate: float = 0.0


def enqueue(
    *,
    context: typer.Context,
    account: Annotated[str, typer.Option(help="The account the events are for.")],
    event_type: Annotated[str, typer.Option("--type", help="The events' type, for instance message.outbound.sent.")],
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(metavar="FILE", help="NDJSON: one JSON message per line; `-` reads standard input."),
    ],
    app: Annotated[str | None, typer.Option(help="The events' app.")] = None,
    subject_member: Annotated[
        str | None, typer.Option(metavar="MEMBER", help="The message's member that is the event's subject.")
    ] = None,
    key_member: Annotated[
        str | None,
        typer.Option(
            metavar="MEMBER",
            help="The message's member that is its idempotency key: the same file can then be sent again.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Enqueue one event per line; the line's bytes are the message.

    A line that is no JSON, or otherwise refused, is reported by its number on stderr while the rest goes in.
    Lines are stored in groups of up to 1,000: from a pipe that trickles, the first wait for the others or its end.
    Exit status: 0 all are in, 1 some were refused.
    """
    if not is_event_type(event_type):
        raise typer.BadParameter(RULE, param_hint="--type")
    with installation_of(context).transaction() as session:
        find_account(session, account)
    tally = _run(
        installation_of(context), file, Recipe(account, event_type, app, subject_member, key_member), json=json
    )
    if tally.refused:
        raise typer.Exit(1)


def _run(installation: Installation, file: BinaryIO, recipe: Recipe, *, json: bool) -> _Tally:
    tally = _Tally()
    counting = Counting(console(stderr=True), "lines")
    unanswered: deque[int] = deque()  # line numbers of events that enqueue_many has taken and not yet answered

    def refuse(number: int, error: DispatcherError) -> None:
        tally.refused += 1
        counting.say(f"line {number}: {error}")

    def events() -> Iterator[Event]:
        for number, line in read_lines(file):
            try:
                event = recipe.event(line)
            except InvalidEvent as error:
                refuse(number, error)
                counting.add_one()
                continue
            unanswered.append(number)
            yield event

    try:
        with counting.shown():
            for receipt in enqueue_many(events(), producer=installation):
                number = unanswered.popleft()
                match receipt:
                    case Refused(error):
                        refuse(number, error)
                    case Accepted(repeated=True):
                        tally.repeated += 1
                    case Accepted(deliveries=deliveries):
                        tally.accepted += 1
                        tally.deliveries += deliveries
                        tally.nearest_types = tally.nearest_types or receipt.nearest_types
                counting.add_one()
    finally:
        tally.rate = round(counting.rate, 1)
        if unanswered:
            counting.say(f"stopped before the outcome of line {unanswered[0]} and those after it was known")
        _print_summary(tally, json=json)
        if tally.accepted and not tally.deliveries:
            print_missed(recipe.account, recipe.app, recipe.type, tally.nearest_types)
    return tally


def _print_summary(tally: _Tally, *, json: bool) -> None:
    if json:
        print_json(asdict(tally))
        return
    print_line(
        f"accepted {tally.accepted:,}, repeated {tally.repeated:,}, refused {tally.refused:,}; "
        f"deliveries {tally.deliveries:,}; {tally.rate:,.0f} lines a second"
    )
