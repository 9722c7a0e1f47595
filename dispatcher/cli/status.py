"""`dispatcher status`: how the installation does, on one screen."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, console, print_json
from dispatcher.cli.status_screen import screen
from dispatcher.db.outages import explain_outage
from dispatcher.diagnosis.oldest_due import Round
from dispatcher.diagnosis.overview import Overview, read_overview
from dispatcher.diagnosis.running import reading_engine
from dispatcher.embedded.data_dir import API_ADDRESS, FLOWER_ADDRESS, published
from dispatcher.installation import Installation

app = Commands()

_PAUSE = 2.0  # seconds between two looks
_STATEMENT = 4.0  # seconds that one may take
_ALL = 10_000  # lines, where there is no screen


@app.command(epilog="Example: dispatcher status --watch 5")
def status(
    context: typer.Context,
    seconds: Annotated[
        float | None, typer.Argument(min=0.5, max=3600, metavar="SECONDS", help="Pause of --watch, default 2")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until Ctrl-C")] = False,
    json: AsJson = False,
) -> None:
    """Show how the installation does, on one screen.

    Addresses of an engine that runs here, what waits, rates of the last minute, processes, the webhooks that fail
    most, and problems. It only reads, a bounded number of rows. --watch draws it anew in place; into a pipe or file it
    prints one after the other, with --json one on each line.
    Exit status: 0 it was shown, also if there are problems; 0 when --watch is stopped by Ctrl-C.
    """
    if seconds is not None and not watch:
        raise typer.BadParameter("SECONDS is for --watch")
    looks = _Looks(installation_of(context))
    if not watch:
        _print(looks.look(), json=json)
        return
    pause = _PAUSE if seconds is None else seconds
    try:
        if json or not console().is_terminal:
            while True:
                _print_next(looks, json=json)
                time.sleep(pause)
        with _drawn(console()) as live:
            while True:
                live.update(Group(*_picture(looks, live.console)), refresh=True)
                time.sleep(pause)
    except KeyboardInterrupt:
        return


class _Looks:
    """Looks at the installation, one after the other."""

    def __init__(self, installation: Installation) -> None:
        self._engine = reading_engine(installation, "dispatcher status", statement=_STATEMENT)
        self._oldest_due = Round()
        self.addresses = _addresses()

    def look(self) -> Overview:
        with self._engine.connect() as connection:
            return read_overview(connection, self._oldest_due)


def _addresses() -> dict[str, str]:
    """Of an engine that runs here."""
    lines = published()
    return {
        name: lines[variable]
        for name, variable in (("API", API_ADDRESS), ("Flower", FLOWER_ADDRESS))
        if variable in lines
    }


def _print(overview: Overview, *, json: bool, indent: int | None = 2) -> None:
    if json:
        print_json({"addresses": _addresses(), **_document(overview)}, indent=indent)
        return
    to = console()
    for line in screen(overview, _addresses(), to.height if to.is_terminal else _ALL):
        _cut(line, to)


def _print_next(looks: _Looks, *, json: bool) -> None:
    try:
        overview = looks.look()
    except SQLAlchemyError as error:
        print_json({"error": _explained(error)}, indent=None) if json else console().print(Text(_explained(error)))
        return
    _print(overview, json=json, indent=None)
    if not json:
        console().print()


def _picture(looks: _Looks, to: Console) -> list[Text]:
    try:
        lines = screen(looks.look(), looks.addresses, to.height - 1)
    except SQLAlchemyError as error:
        lines = [Text(_explained(error), style="bold red")]
    for line in lines:
        line.truncate(to.width, overflow="ellipsis")
    return lines


def _explained(error: SQLAlchemyError) -> str:
    """Raises the error again if it is a defect."""
    said = explain_outage(error)
    if said is None:
        raise error
    return f"{said}: it is tried again"


def _cut(line: Text, to: Console) -> None:
    line.truncate(to.width, overflow="ellipsis")
    to.print(line, no_wrap=True, overflow="ignore", crop=False)


@contextmanager
def _drawn(to: Console) -> Iterator[Live]:
    """A picture that stays when it ends."""
    with Live(console=to, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        to.show_cursor(True)  # a killed process could not bring it back
        yield live


def _document(overview: Overview) -> dict[str, Any]:
    return {
        "at": overview.at,
        "problems": [asdict(one) for one in overview.problems],
        "deliveries": {
            **overview.open,
            "oldest_due_seconds": overview.work.oldest_due,
            "retry_overdue_seconds": overview.work.retry_overdue,
            "expired_claims": overview.work.expired_claims,
            "suspects": overview.work.suspects,
        },
        "per_second": asdict(overview.rates),
        "webhooks": {
            "failing": overview.failing_count,
            "circuits_open": overview.circuits_open,
            "quarantined": len(overview.quarantined_webhooks),
            "worst": [asdict(one) for one in overview.failing],
        },
        "notices": {
            **overview.notices,
            "quarantined": overview.quarantined_notices.number if overview.quarantined_notices else 0,
        },
        "leases_overdue_seconds": overview.leases,
        "processes": [
            {
                "kind": one.kind,
                "host": one.host,
                "pid": one.pid,
                "version": one.version,
                "started_at": one.started_at,
                "seen_seconds_ago": one.age,
                "lives": one.lives,
                "doing": one.doing,
                "fault": one.fault,
            }
            for one in overview.processes
        ],
    }
