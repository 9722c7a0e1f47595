"""How commands print: tables for people, JSON for programs, errors on stderr. All of it is safe for a terminal."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dispatcher.masking.terminal import ascii_json, safe_text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]

_NO_WRAPPING = 10_000
_GAP = 2  # cells between two columns of a table
_LEAST = 12  # of a column that gives way


def console(*, stderr: bool = False) -> Console:
    """A console for the current stream. Into a file or pipe nothing is wrapped or cut."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _NO_WRAPPING
    return made


def print_error(message: str) -> None:
    """One red line on stderr for each line of the message."""
    for line in message.splitlines():
        console(stderr=True).print(Text(f"Error: {safe_text(line)}", style="bold red"), soft_wrap=True)


def print_line(message: str, *, stderr: bool = False) -> None:
    """One line as it is, on stdout or on stderr."""
    console(stderr=stderr).print(Text(safe_text(message)), soft_wrap=True)


def print_done(line: str, document: Any, *, json: bool) -> None:
    """What a command did: a line for people, a document for programs."""
    if json:
        print_json(document)
    else:
        print_line(line)


def print_missed(account: str, app: str | None, event_type: str, nearest_types: Sequence[str]) -> None:
    """Hints on stderr that no webhook takes this type, and which type was probably meant."""
    owner = f"account {account!r}" if app is None else f"account {account!r} and app {app!r}"
    nearest = f"; the nearest: {', '.join(nearest_types)}" if nearest_types else ""
    print_line(f"Hint: no webhook of {owner} takes {event_type}{nearest}", stderr=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, gives_way: Sequence[str] = ()) -> None:
    """A table whose first column is never cut. If the terminal is too narrow, empty columns are left out first; then
    the columns in `gives_way` are cut, with an ellipsis; then the first column gets a separate line; and finally each
    row is printed as a block of its values. Into a file or pipe nothing is cut."""
    names, cells = list(columns), [[safe_text(shown(value)) for value in row] for row in rows]
    where = console()
    if cells and _needed(_widths(names, cells)) > where.width:
        filled = [at for at in range(len(names)) if at == 0 or any(row[at] != shown(None) for row in cells)]
        names, *cells = [[row[at] for at in filled] for row in (names, *cells)]
    if widths := _fitting(names, cells, gives_way, where.width):
        for number, row in enumerate((names, *cells)):
            where.print(_line(row, widths, "bold" if number == 0 else ""), no_wrap=True)
    elif widths := _fitting(names[1:], [row[1:] for row in cells], gives_way, where.width - _GAP):
        for number, row in enumerate((names, *cells)):
            where.print(Text(row[0], style="bold" if number == 0 else "cyan"), no_wrap=True)
            where.print(Text(" " * _GAP).append(_line(row[1:], widths, "bold" if number == 0 else "")), no_wrap=True)
    else:
        _print_blocks(where, names, cells)


def print_documents(
    documents: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, json: bool, gives_way: Sequence[str] = ()
) -> None:
    """Documents of one kind: a table for people, the documents for programs. `columns` are headings of the table, each
    with the member that it shows."""
    if json:
        print_json(documents)
    else:
        rows = ([document[member] for member in columns.values()] for document in documents)
        print_table(list(columns), rows, gives_way=gives_way)


def _widths(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _fitting(
    names: Sequence[str], cells: Sequence[Sequence[str]], gives_way: Sequence[str], most: int
) -> list[int] | None:
    """Widths of the columns. Those that give way are cut as needed, the widest first. None if that is not enough."""
    widths = _widths(names, cells)
    flexible = [at for at, name in enumerate(names) if name in gives_way]
    while _needed(widths) > most:
        at = max(flexible, key=lambda each: widths[each], default=None)
        if at is None or widths[at] <= _LEAST:
            return None
        widths[at] -= 1
    return widths


def _line(row: Sequence[str], widths: Sequence[int], style: str) -> Text:
    line = Text()
    for value, width in zip(row, widths, strict=True):
        cell = Text(value, style=style)
        cell.truncate(width, overflow="ellipsis", pad=True)
        line.append(cell).append(" " * _GAP)
    line.rstrip()
    return line


def _print_blocks(where: Console, names: Sequence[str], cells: Iterable[Sequence[str]]) -> None:
    for first, *others in cells:
        known = [f"{name} {value}" for name, value in zip(names[1:], others, strict=True) if value != shown(None)]
        where.print(Text(first, style="cyan"))
        where.print(Padding(Text(", ".join(known)), (0, 0, 0, _GAP)))


def print_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(Text(name), Text(safe_text(shown(value))))
    console().print(table)


def print_section(title: str) -> None:
    """A heading."""
    console().print(Text(f"\n{title}", style="bold"))


def print_text(text: str) -> None:
    """Foreign text of several lines, indented."""
    for line in safe_text(text, lines=True).split("\n"):
        console().print(Text(f"  {line}"), soft_wrap=True)


def print_json(document: Any, *, raw_member: tuple[str, bytes] | None = None, indent: int | None = 2) -> None:
    """A JSON document in ASCII, on one line where `indent` is None. `raw_member` (name, JSON) is added to an object
    unchanged."""
    text = json.dumps(document, indent=indent, default=_as_json)
    if raw_member is not None:
        name, data = raw_member
        text = f"{text[:-2]},\n  {json.dumps(name)}: {data.decode()}\n}}"
    typer.echo(ascii_json(text))


def shown(value: object) -> str:  # noqa: PLR0911 - a table
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
        case dict():
            return json.dumps(value)
        case list() | tuple():
            return ", ".join(str(item) for item in value)
        case _:
            return str(value)


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
