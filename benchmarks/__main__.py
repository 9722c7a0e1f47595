"""`./run.sh bench`: runs the rows, prints one table, exits with status 1 if a target was missed."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import peers
from benchmarks.bench import FULL, QUICK, Bench
from benchmarks.comparison import comparison
from benchmarks.history import REQUESTS
from benchmarks.http_client import NotAccepted
from benchmarks.machine import machine, versions
from benchmarks.neighbour import beside_hostile_receivers
from benchmarks.pages import of_every_page
from benchmarks.plot import draw
from benchmarks.pulses import of_counting_and_reading
from benchmarks.report import Report, document, judge_rows, table
from benchmarks.rows import ROWS, measures_of
from benchmarks.runner import run_measures
from benchmarks.servers import running_servers
from benchmarks.targets import exit_status
from dispatcher.cli.help_page import Command, Group, Panels


class _Bench(Group):
    """Help like that of the other commands."""

    panels: Panels = {  # noqa: RUF012 - as the base
        "Commands": {
            "compare": "Show the figures of two runs side by side",
            "receive": "Run the receiver alone, for any sender",
            "post": "Run the client alone, for any server",
            "pulses": "Measure what it costs to count requests, and to read the counts",
            "pages": "Measure each page of console and portal with much in the tables",
            "neighbour": "Measure a receiver beside five whose answers never end",
        }
    }


app = typer.Typer(
    cls=_Bench,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_NAMES = [row.name for row in ROWS]


def _known_rows(names: list[str] | None) -> list[str]:
    unknown = [name for name in names or () if name not in _NAMES]
    if unknown:
        raise typer.BadParameter(f"there is no row {unknown[0]!r}; the rows are: {', '.join(_NAMES)}")
    return names or _NAMES


@app.callback(invoke_without_command=True, epilog=f"ROW is one of {', '.join(_NAMES)}.")
def bench(  # noqa: PLR0917 - typer makes them options
    context: typer.Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smaller counts, long measures once: about 10 minutes")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="ROW", callback=_known_rows, help="A row to run; may be given several times"),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each measure; medians are shown")] = 3,
    size: Annotated[float, typer.Option(min=0.001, help="Multiply all counts by this, for trials")] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the throughputs to this PNG file")] = None,
) -> None:
    """Measure this engine against baselines, on this machine, in one run.

    It starts its own PostgreSQL, Valkey and receivers on temporary data, and runs every row against its baselines. It
    prints machine, versions, medians, CPU per delivery and each target; progress goes to standard error.
    Exit status: 0 every target that must be reached was, 1 one was missed.
    """
    if context.invoked_subcommand is not None:
        return
    if sys.platform != "linux":
        raise typer.BadParameter("the receiver and the measurement of CPU time need Linux")
    for name in [name for name in os.environ if name.startswith("DISPATCHER_")]:
        del os.environ[name]  # the settings of the user's engine must not affect the measures
    progress = Console(stderr=True, highlight=False)
    rows = [row for row in ROWS if row.name in (only or _NAMES)]
    about, sizes = machine(), (QUICK if quick else FULL).times(size)
    with running_servers(sizes.wal_files) as servers, Bench(servers, sizes, quick=quick) as run:
        about |= versions(servers)
        results = run_measures(run, measures_of(rows), runs, lambda line: progress.print(line, soft_wrap=True))
    report = Report({**about, **run.facts}, runs, results, judge_rows(rows, results))
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(table(report))
    if json_file is not None:
        json_file.write_text(json.dumps(document(report), indent=2) + "\n")
    if plot is not None:
        draw(report, plot)
    raise typer.Exit(exit_status(report.judged))


@app.command(cls=Command)
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="The file that `--json` wrote for one commit")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The same for another commit")],
) -> None:
    """Show the figures of two runs side by side."""
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(comparison(json.loads(before.read_text()), json.loads(after.read_text())))


@app.command(cls=Command)
def receive() -> None:
    """Run the receiver alone, and show each second what it has got, until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        peers.receive(lambda line: print(line, flush=True))  # noqa: T201


@app.command(cls=Command)
def post(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where a server on this machine takes events")],
    body: Annotated[Path, typer.Argument(metavar="FILE", help="The body of each request")],
    header: Annotated[
        list[str] | None, typer.Option(metavar="LINE", help="A header; may be given several times")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="The next request goes out when the answer has come")] = 8,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long, after one second to warm up")] = 10,
) -> None:
    """Run the client alone: send the same request again and again, and show how fast it is answered."""
    try:
        said = peers.post_steadily(url, header or [], body.read_bytes(), connections=connections, seconds=seconds)
    except (NotAccepted, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    print(said)  # noqa: T201


@app.command(cls=Command)
def neighbour(
    seconds: Annotated[float, typer.Option(min=0.1, help="CPU time of a round")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each kind; the medians count")] = 5,
) -> None:
    """Measure what a receiver gets beside five whose answers never end, for each kind of them.

    Exit status: 0 it has 95 % of what it gets alone, beside all of them, 1 it has less.
    """
    raise typer.Exit(0 if beside_hostile_receivers(seconds, rounds, print) else 1)


@app.command(cls=Command)
def pulses(
    requests: Annotated[int, typer.Option(min=1_000, help="How many there have been in 7 days")] = REQUESTS,
) -> None:
    """Measure what it costs to count requests, and to read the counts of many.

    Exit status: 0 all of it is as fast as it must be, 1 something is not.
    """
    raise typer.Exit(0 if of_counting_and_reading(requests, print) else 1)


@app.command(cls=Command)
def pages(
    requests: Annotated[int, typer.Option(min=1_000, help="How many there have been in 7 days")] = REQUESTS,
    rounds: Annotated[int, typer.Option(min=1, help="How often each page is asked for")] = 11,
) -> None:
    """Measure how long each page of console and portal takes, and what memory they take of the API.

    Exit status: 0 each page is as fast as it must be, 1 one is not.
    """
    raise typer.Exit(0 if of_every_page(requests, rounds, print) else 1)


if __name__ == "__main__":
    app(prog_name="./run.sh bench")
