"""What `dispatcher status` shows, as lines: as many as there is room for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby

from rich.cells import cell_len
from rich.text import Text

from dispatcher.diagnosis.findings import Level, span
from dispatcher.diagnosis.judging.engine import Process
from dispatcher.diagnosis.overview import Failing, Overview
from dispatcher.masking.terminal import safe_text
from dispatcher.states import State

_LABEL = 11  # cells of a line's name
_GAP = 2
_LEAST = 3  # lines of a list that has no room for all
_MUCH = 10_000  # from here on, counts are about


def screen(overview: Overview, addresses: Mapping[str, str], height: int) -> list[Text]:
    """All of it, in `height` lines if that is possible at all."""
    head = [
        _line("At", f"{overview.at:%Y-%m-%d %H:%M:%S} UTC"),
        *(_line(name, address) for name, address in addresses.items()),
        *_figures(overview),
        Text(),
    ]
    problems = [_problem(one.level, one.where, one.says) for one in overview.problems]
    title = (
        "Problems: `dispatcher doctor` says what to do"
        if problems
        else "No problems in the database: `dispatcher doctor` tries broker and mails, too"
    )
    problems = [Text(title, style="bold" if problems else "green"), *problems]
    processes = _processes(overview.processes, overview.at)
    failing = _failing(overview.failing)
    room = height - len(head) - 2 * _LEAST - 2
    failing = _shortened(failing, max(_LEAST, room), overview.failing_count - len(overview.failing))
    room = height - len(head) - len(_shortened(problems, _LEAST)) - len(failing) - 2
    processes = _shortened(processes, max(_LEAST, room))
    room = height - len(head) - len(processes) - len(failing) - 2
    parts = [_shortened(problems, max(_LEAST, room)), processes, failing]
    return [*head, *(line for part in parts if part for line in (*part, Text()))][:-1]


def _figures(overview: Overview) -> list[Text]:
    work, rates, notices = overview.work, overview.rates, overview.notices
    due = "" if work.oldest_due < 1 else f", the oldest due for {span(work.oldest_due)}"
    late = "" if work.retry_overdue < 1 else f", a retry {span(work.retry_overdue)} late"
    waiting, claimed = (_count(overview.open[state]) for state in (State.WAITING, State.CLAIMED))
    lines = [
        _line(
            "Deliveries", f"{_count(overview.open[State.READY])} ready{due}; {claimed} claimed; {waiting} waiting{late}"
        ),
        _line(
            "Per second",
            f"{_rate(rates.accepted)} events accepted, {_rate(rates.delivered)} messages delivered,"
            f" {_rate(rates.failed)} failed",
        ),
        _line(
            "Webhooks",
            f"{_count(overview.failing_count)} fail, {_count(overview.circuits_open)} circuits open,"
            f" {_count(len(overview.quarantined_webhooks))} quarantined",
        ),
        _line(
            "Mails",
            f"{_count(notices['now'] + notices['failed'])} due, {_count(notices['failed'])} of them failed before,"
            f" {_count(notices['held_back'])} held back",
        ),
    ]
    leases = [f"{name} {f'{span(due)} overdue' if due >= 1 else 'in time'}" for name, due in overview.leases.items()]
    return [*lines, _line("Leases", ", ".join(leases) or "none taken yet")]


def _processes(processes: Sequence[Process], now: datetime) -> list[Text]:
    """The living ones together by kind, host and version; the others are told of as problems."""

    def key(one: Process) -> tuple[str, str, str]:
        return one.kind, one.host, one.version

    rows = []
    for (kind, host, version), same in groupby(sorted((one for one in processes if one.lives), key=key), key=key):
        group = list(same)
        doing = Counter(one.doing for one in group)
        rows.append(
            (
                kind,
                str(len(group)),
                host,
                version,
                span(max((now - one.started_at).total_seconds() for one in group)),
                ", ".join(f"{number} {what}" if number > 1 else what for what, number in sorted(doing.items())),
            )
        )
    return _table(("Processes", "n", "host", "version", "up for", "doing"), rows)


def _failing(failing: Sequence[Failing]) -> list[Text]:
    rows = [
        (
            one.account,
            one.webhook,
            str(one.failures),
            span(one.failing_for),
            "closed" if one.trial_in is None else f"open, trial in {span(one.trial_in)}",
        )
        for one in failing
    ]
    return _table(("Failing", "webhook", "in a row", "for", "circuit"), rows)


def _problem(level: Level, where: str, says: str) -> Text:
    style = "bold red" if level is Level.FAIL else "bold yellow"
    place = f"{where}: " if where else ""
    return Text(safe_text(f"{level.upper():<4}  {place}{says}"), style=style)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Text]:
    if not rows:
        return []
    cells = [[safe_text(value) for value in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
    lines = []
    for number, row in enumerate((names, *cells)):
        padded = (value + " " * (width - cell_len(value)) for value, width in zip(row, widths, strict=True))
        lines.append(Text((" " * _GAP).join(padded).rstrip(), style="bold" if number == 0 else ""))
    return lines


def _shortened(lines: list[Text], most: int, beyond: int = 0) -> list[Text]:
    """Up to `most` of them. `beyond`: how many more there are than these."""
    if len(lines) <= most and not beyond:
        return lines
    kept = min(len(lines), most - 1)
    return [*lines[:kept], Text(f"and {_count(len(lines) - kept + beyond)} more", style="dim")]


def _line(name: str, value: str) -> Text:
    return Text.assemble((name.ljust(_LABEL), "bold"), safe_text(value))


def _count(number: int) -> str:
    return f"about {number:,}" if number >= _MUCH else f"{number:,}"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"
