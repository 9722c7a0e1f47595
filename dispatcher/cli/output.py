"""How commands print: tables for people, JSON for programs, errors on stderr; all of it safe for a terminal."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from dispatcher.masking.terminal import ascii_json, safe_text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]

_NO_WRAPPING = 10_000


def console(*, stderr: bool = False) -> Console:
    """The console of the moment. Into a file or pipe nothing is wrapped or cut."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _NO_WRAPPING
    return made


def print_error(message: str) -> None:
    """One red line on stderr for each line of the message."""
    for line in message.splitlines():
        console(stderr=True).print(Text(f"Error: {safe_text(line)}", style="bold red"), soft_wrap=True)


def print_line(message: str, *, stderr: bool = False) -> None:
    """One line as it is, on stdout unless told otherwise."""
    console(stderr=stderr).print(Text(safe_text(message)), soft_wrap=True)


def print_missed(account: str, app: str | None, event_type: str, nearest_types: Sequence[str]) -> None:
    """A hint on stderr: no webhook takes this type, and which was probably meant."""
    owner = f"account {account!r}" if app is None else f"account {account!r} and app {app!r}"
    nearest = f"; the nearest: {', '.join(nearest_types)}" if nearest_types else ""
    print_line(f"Hint: no webhook of {owner} takes {event_type}{nearest}", stderr=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; where the terminal is too narrow for it, a block for each row: its first value, the others below."""
    cells = [[safe_text(shown(value)) for value in row] for row in rows]
    table = Table(*(_heading(name) for name in columns), box=box.SIMPLE_HEAD, pad_edge=False)
    for row in cells:
        table.add_row(*(Text(value) for value in row))
    where = console()
    needed = Measurement.get(where, where.options.update(max_width=_NO_WRAPPING), table).maximum
    if needed <= where.width:
        where.print(table)
        return
    for first, *others in cells:
        known = [f"{name} {value}" for name, value in zip(columns[1:], others, strict=True) if value != shown(None)]
        where.print(Text(first, style="bold"))
        where.print(Padding(Text(", ".join(known)), (0, 0, 0, 2)))


def print_fields(fields: Mapping[str, object]) -> None:
    """Names and values of one thing, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(Text(name), Text(safe_text(shown(value))))
    console().print(table)


def print_section(title: str) -> None:
    """The heading of what follows."""
    console().print(Text(f"\n{title}", style="bold"))


def print_text(text: str) -> None:
    """Text of several lines that others wrote, indented."""
    for line in safe_text(text, lines=True).split("\n"):
        console().print(Text(f"  {line}"), soft_wrap=True)


def print_json(document: Any, *, raw_member: tuple[str, bytes] | None = None, indent: int | None = 2) -> None:
    """A JSON document in ASCII, on one line where `indent` is None. `raw_member` is added to an object as it is, digits
    and all."""
    text = json.dumps(document, indent=indent, default=_as_json)
    if raw_member is not None:
        name, data = raw_member
        text = f"{text[:-2]},\n  {json.dumps(name)}: {data.decode()}\n}}"
    typer.echo(ascii_json(text))


def shown(value: object) -> str:
    """A value as people read it: times in UTC to the second, durations in seconds, nothing as a dash."""
    match value:
        case None | "" | [] | ():
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
        case timedelta():
            return f"{value.total_seconds():.3f} s"
        case list() | tuple():
            return ", ".join(str(item) for item in value)
        case _:
            return str(value)


def _heading(name: str) -> Column:
    return Column(name, no_wrap=name == "id", overflow="fold")


def _as_json(value: object) -> object:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.decode(errors="backslashreplace")
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        case _:
            return str(value)
