"""How commands print: tables for people, JSON for programs, errors on stderr. All of it is safe for a terminal."""

import dataclasses
import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.cells import cell_len
from rich.console import Console
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
    """A red error on stderr for each line of the message; in a command whose log is JSON, a line of that."""
    from dispatcher.logs.output import writes_json

    if writes_json():
        from dispatcher.logs.process import tell_failure

        tell_failure(message)
        return
    for line in message.splitlines():
        print_sentence(f"Error: {line}", console(stderr=True), style="bold red")


def print_line(message: str, *, stderr: bool = False) -> None:
    """A result on stdout, one line as it is; or a sentence on stderr."""
    if stderr:
        print_sentence(message, console(stderr=True))
    else:
        console().print(Text(safe_text(message)), soft_wrap=True)


def print_older(before: UUID | None) -> None:
    """How to ask for the next page, if there is one. Also beside JSON: a page can be short, or empty."""
    if before is not None:
        print_line(f"older ones: --before {before}", stderr=True)


def print_sentence(message: str, where: Console, *, style: str = "", indent: str = "") -> None:
    """Text for people, wrapped at blanks to the terminal's width, with `indent` before each line but the first. What is
    to be copied stays whole, though it is longer than a line: words without a blank, such as addresses, and what stands
    in back quotes, such as commands."""
    whole = re.sub("`[^`]*`", lambda found: found[0].replace(" ", "\0"), safe_text(message))
    wrapped = textwrap.wrap(
        whole, where.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    for line in wrapped or [""]:
        where.print(Text(line.replace("\0", " "), style=style), soft_wrap=True)


def print_done(line: str, document: Any, *, json: bool) -> None:
    """What a command did: a line for people, a document for programs."""
    from dispatcher.logs.output import writes_json

    if json:
        print_json(document)
    elif writes_json():
        from dispatcher.logs.process import tell_result

        tell_result(line)
    else:
        print_line(line)


def print_missed(account: str, app: str | None, event_type: str, nearest_types: Sequence[str]) -> None:
    """Hints on stderr that no webhook takes this type, and which type was probably meant."""
    owner = f"account {account!r}" if app is None else f"account {account!r} and app {app!r}"
    nearest = f"; the nearest: {', '.join(nearest_types)}" if nearest_types else ""
    print_line(f"Hint: no webhook of {owner} takes {event_type}{nearest}", stderr=True)


def print_misspelt(misspelt: Mapping[str, Sequence[str]]) -> None:
    """Hints on stderr that these types are probably misspelt, each with what was meant."""
    for event_type, meant in misspelt.items():
        print_line(f"Hint: {event_type} looks like a misspelling of {' or '.join(meant)}", stderr=True)


def at_least(count: int, *, complete: bool) -> str:
    """A count in words, where very many are not counted to the end."""
    return f"{count:,}" if complete else f"{count:,} or more"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, gives_way: Sequence[str] = ()) -> None:
    """A table whose first column is never cut. If the terminal is too narrow, empty columns are left out first; then
    the columns in `gives_way` are cut, with an ellipsis; then each row takes two lines; and finally each row is printed
    as a block of its values. Into a file or pipe nothing is cut."""
    names, cells = list(columns), [[safe_text(shown(value)) for value in row] for row in rows]
    where = console()
    if cells and _needed(_widths(names, cells)) > where.width:
        filled = [at for at in range(len(names)) if at == 0 or any(row[at] != shown(None) for row in cells)]
        names, *cells = [[row[at] for at in filled] for row in (names, *cells)]
    if widths := _fitting(names, cells, gives_way, where.width):
        for number, row in enumerate((names, *cells)):
            where.print(_line(row, widths, "bold" if number == 0 else ""), no_wrap=True)
    elif halves := _in_two_lines(names, cells, gives_way, where.width):
        for number, row in enumerate((names, *cells)):
            first, second = (_line(row[part], widths, "bold" if number == 0 else "") for part, widths in halves)
            if number:
                first.stylize("cyan", 0, len(row[0]))
            where.print(first, no_wrap=True)
            where.print(Text(" " * _GAP).append(second), no_wrap=True)
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


def _in_two_lines(
    names: Sequence[str], cells: Sequence[Sequence[str]], gives_way: Sequence[str], most: int
) -> list[tuple[slice, list[int]]] | None:
    """The columns of each of two lines, with their widths, so that as little as possible is cut. None if they do not
    fit."""
    found = []
    for at in range(1, len(names)):
        halves = []
        for part, room in ((slice(at), most), (slice(at, None), most - _GAP)):
            if widths := _fitting(names[part], [row[part] for row in cells], gives_way, room):
                halves.append((part, widths))
        if len(halves) == 2:
            found.append(halves)
    return max(found, key=lambda halves: sum(sum(widths) for _, widths in halves), default=None)


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
        where.print(Text(first, style="cyan"))
        line = ""
        for name, value in zip(names[1:], others, strict=True):
            if value == shown(None):
                continue
            pair = f"{name}: {value}"
            if line and cell_len(line) + _GAP + cell_len(pair) > where.width - _GAP:
                _print_indented(where, line)
                line = ""
            line = f"{line}{' ' * _GAP}{pair}" if line else pair
        _print_indented(where, line)


def _print_indented(where: Console, text: str) -> None:
    for line in Text(text).wrap(where, where.width - _GAP):
        line.rstrip()
        where.print(Text(" " * _GAP).append(line), no_wrap=True)


def print_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    where, column = console(), max(map(len, fields)) + _GAP
    for name, value in fields.items():
        lines = Text(safe_text(shown(value))).wrap(where, max(where.width - column, _LEAST), overflow="fold")
        for number, line in enumerate(lines):
            line.rstrip()
            where.print(Text.assemble((("" if number else name).ljust(column), "bold"), line), no_wrap=True)


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
        text = f"{text[:-2]},\n  {json.dumps(name)}: {data.decode(errors='replace')}\n}}"
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
