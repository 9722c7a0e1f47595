"""`./run.sh soak`: runs a soak, shows how it goes, prints what grew."""

from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli.help_page import Command
from tests.faults.foreground import in_the_foreground, to_stderr
from tests.faults.soak.growth import bytes_an_event, growth
from tests.faults.soak.plot import draw
from tests.faults.soak.report import label, table
from tests.faults.soak.running import RATE, SAMPLE_SECONDS, Soaked, run_soak

SHOW_EVERY = 30.0  # seconds, where there is no terminal
PLOT = "soak.svg"

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command(cls=Command)
def soak(
    minutes: Annotated[float, typer.Option(min=5, max=10_000, help="How long the load lasts")] = 60,
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the samples, a plot, and the ends of logs here")
    ] = None,
) -> None:
    """Put a whole installation under steady load, and watch what grows.

    It starts its own PostgreSQL, Valkey, mail server, workers, API, receivers and a backend on temporary data. The
    backend sends 100 events a second, by `enqueue` and over the API, for webhooks that take one message or several at
    once. Some receivers are slow, some fail each delivery once, and one fails for 20 s of each minute. Every 10 s a
    webhook is made that fails, its contact gets a mail, and it is deleted again. Time is shortened tenfold, so that an
    hour has ten hours of retries.

    Every 5 s it measures the memory and open files of each process of the engine, its connections, the memory and keys
    of the broker, the size and dead rows of tables and indexes, open deliveries, events and messages a second, and how
    late deliveries arrive. The first third, ten minutes at most, is warm-up. Of the rest, the lower quartiles of the
    first and of the last third are compared, because much comes and goes. It fails on what grew by more than it may and
    still grows, on a process that ended, an event that was not accepted, and a mail that did not come. Tables that keep
    what happened grow by design: the bytes of an event are shown, not judged. An hour needs 3 GB in the folder for
    temporary files.

    Progress goes to standard error. Exit status: 0 passed, 1 failed, 2 it could not be run, 130 stopped.
    """
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    to_stderr.print(f"Soak of {minutes * 60:.0f} s, {RATE:.0f} events a second, a sample every {SAMPLE_SECONDS:.0f} s.")
    with in_the_foreground("a soak", show_every=SHOW_EVERY) as show:
        soaked = run_soak(minutes * 60, show, keep)
    if keep is not None:
        draw(soaked.samples, soaked.table_of, keep / PLOT)
    passed = _print(soaked)
    print(f"{'PASSED' if passed else 'FAILED'}: ./run.sh soak --minutes {minutes:g}")
    raise typer.Exit(0 if passed else 1)


def _print(soaked: Soaked) -> bool:
    """Prints everything; returns whether all is well."""
    grown = growth(soaked.samples, soaked.table_of)
    for line in table(grown):
        print(line)
    size = bytes_an_event(soaked.samples, soaked.events, soaked.table_of)
    print(f"What is kept of an event, with its deliveries and indexes: {size:,.0f} bytes.")
    for one in grown:
        if one.too_much:
            print(f"GREW: {label(one)}")
    for problem in soaked.problems:
        print(f"PROBLEM: {problem}")
    return not soaked.problems and not any(one.too_much for one in grown)


if __name__ == "__main__":
    app(prog_name="./run.sh soak")
