"""`dispatcher enqueue`: enqueues each message of an NDJSON file as an event."""

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, BinaryIO

import typer

from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of
from dispatcher.cli.ndjson import Recipe, read_lines
from dispatcher.cli.output import AsJson, console, print_json, print_line, print_missed, print_misspelt
from dispatcher.cli.progress import Counting
from dispatcher.cli.shared_options import OfAccount
from dispatcher.errors import DispatcherError, InvalidEvent
from dispatcher.event_types import RULE, is_event_type
from dispatcher.events.enqueue import enqueue_many
from dispatcher.events.event import Accepted, Event, Refused
from dispatcher.events.nearest import misspelt_types_of
from dispatcher.installation import Installation

app = Commands()


@dataclass(slots=True)
class _Tally:
    accepted: int = 0
    repeated: int = 0
    refused: int = 0
    deliveries: int = 0
    nearest_types: tuple[str, ...] = ()
    rate: float = 0.0


@app.command(epilog="Example: dispatcher enqueue --account acme --type message.outbound.sent messages.ndjson")
def enqueue(
    *,
    context: typer.Context,
    account: OfAccount,
    event_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Their type, such as message.outbound.sent")
    ],
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(metavar="FILE", help="NDJSON: one message a line; - is standard input"),
    ],
    app_: Annotated[str | None, typer.Option("--app", metavar="APP", help="Their app")] = None,
    subject_member: Annotated[
        str | None, typer.Option(metavar="MEMBER", help="Member of the message that is the subject")
    ] = None,
    key_member: Annotated[str | None, typer.Option(metavar="MEMBER", help="Member that is the idempotency key")] = None,
    json: AsJson = False,
) -> None:
    """Enqueue the messages of a file, one event a line.

    The bytes of a line are the message. With --key-member the same file can be enqueued again. A line that is not JSON,
    or is refused for another reason, is reported on stderr by its number; the other lines are enqueued.
    Lines are stored in groups of up to 1,000: lines from a slow pipe wait until their group is full or the pipe ends.
    Exit status: 0 all lines were accepted, 1 some were refused.
    """
    if not is_event_type(event_type):
        raise typer.BadParameter(RULE, param_hint="--type")
    with installation_of(context).transaction() as session:
        owner = account_of(session, account).name
    recipe = Recipe(owner, event_type, app_, subject_member, key_member)
    tally = _run(installation_of(context), file, recipe, json=json)
    if tally.refused:
        raise typer.Exit(1)


def _run(installation: Installation, file: BinaryIO, recipe: Recipe, *, json: bool) -> _Tally:
    tally = _Tally()
    counting = Counting(console(stderr=True), "lines")
    unanswered: deque[int] = deque()  # line numbers of events that enqueue_many has read but not yet answered

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
            counting.say(f"stopped: the outcome of line {unanswered[0]} and those after it is unknown")
        _print_summary(tally, json=json)
        if tally.accepted and not tally.deliveries:
            print_missed(recipe.account, recipe.app, recipe.type, tally.nearest_types)
        elif tally.accepted:
            print_misspelt(misspelt_types_of([recipe.type], recipe.account, installation))
    return tally


def _print_summary(tally: _Tally, *, json: bool) -> None:
    if json:
        print_json(asdict(tally))
        return
    print_line(
        f"accepted {tally.accepted:,}, repeated {tally.repeated:,}, refused {tally.refused:,}; "
        f"deliveries {tally.deliveries:,}; {tally.rate:,.0f} lines a second"
    )
