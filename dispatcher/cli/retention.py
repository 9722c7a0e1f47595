"""`dispatcher retention`: what is older than it is to be kept."""

from dataclasses import asdict
from time import monotonic
from typing import Annotated

import typer

from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, at_least, console, print_done, print_json, print_line, print_table
from dispatcher.cli.progress import Counting
from dispatcher.db.retention.forecast import Forecast, forecast
from dispatcher.db.retention.kinds import Kept
from dispatcher.db.retention.pieces import begin_again
from dispatcher.db.retention.rounds import retain

app = Commands()

_ROUND_SECONDS = 5.0


@app.command(epilog="Example: dispatcher retention --dry-run")
def retention(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go")] = False,
    json: AsJson = False,
) -> None:
    """Remove now what is older than it is to be kept.

    Upkeep does the same, for some seconds a minute. Use it for a large rest, as the tables' owner or with the workers'
    role. It can be stopped and run again. The settings are DISPATCHER_RETENTION_...
    Exit status: 0 all is removed, 1 a week could not be removed yet.
    """
    installation = installation_of(context)
    kept = Kept.of(dict(installation.settings), installation.settings.model_fields_set)
    if dry_run:
        with installation.engine.connect() as connection:
            found = forecast(connection, kept, installation.clock())
        _print(found, json=json)
        return
    counting = Counting(console(stderr=True), "rows and weeks removed")
    removed: dict[str, int] = {}
    with installation.engine.begin() as connection:
        begin_again(connection)  # upkeep does so once a day
    with counting.shown():
        while True:
            done = retain(installation.engine, kept, installation.clock(), monotonic() + _ROUND_SECONDS)
            now = {name: count for name, count in done.items() if name.endswith("_removed")}
            removed = {name: removed.get(name, 0) + count for name, count in now.items()}
            counting.reach(sum(removed.values()))
            if not done["kinds_left"] and not now["weeks_removed"]:
                break
    document = {**removed, "weeks_left": done["weeks_left"]}
    words = ", ".join(f"{name.removesuffix('_removed')}: {count:,}" for name, count in removed.items())
    print_done(f"removed {words}", document, json=json)
    if done["weeks_left"]:
        print_line(f"{done['weeks_left']} weeks could not be removed yet: run it again", stderr=True)
        raise typer.Exit(1)


def _print(found: list[Forecast], *, json: bool) -> None:
    if json:
        print_json([asdict(one) for one in found])
        return
    columns = [
        "kind",
        "days",
        "oldest",
        "weeks that go",
        "weeks still open",
        "rows that go",
        "MB that go",
        "not before",
    ]
    print_table(columns, [_row(one) for one in found])
    if waits := [one.spared_until for one in found if one.spared_until is not None]:
        print_line(
            f"This database was in use before there was retention: what no time was set for goes from"
            f" {waits[0]:%Y-%m-%d %H:%M} UTC on. Set DISPATCHER_RETENTION_... (days, or off) to decide it now",
            stderr=True,
        )


def _row(one: Forecast) -> tuple[object, ...]:
    is_weeks = one.kind in {"events", "attempts", "audit"}
    rows = f"about {one.rows:,}" if is_weeks else at_least(one.rows, complete=one.rows_complete)
    return (
        str(one.kind),
        one.days if one.days is not None else "off",
        one.oldest,
        one.weeks if is_weeks else None,
        one.weeks_open if is_weeks else None,
        rows,
        f"{one.bytes / 1e6:,.1f}",
        one.spared_until,
    )
