"""`dispatcher doctor`: is it well, and if not, what to do."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated, Any

import typer

from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, console, print_json, print_line, print_section, print_sentence
from dispatcher.diagnosis.checks.listed import CHECKS
from dispatcher.diagnosis.checks.outside import read_place
from dispatcher.diagnosis.findings import Finding, Level, fail, not_checked, worst
from dispatcher.diagnosis.running import Check, Patient, Report, run
from dispatcher.errors import ConfigurationError, WrongSettings

app = Commands()

_WORDS = {Level.OK: "ok", Level.WARN: "warn", Level.FAIL: "FAIL", Level.NOT_CHECKED: "-"}
_STYLES = {Level.OK: "", Level.WARN: "bold yellow", Level.FAIL: "bold red", Level.NOT_CHECKED: "dim"}
_COUNTED = {Level.FAIL: "failed", Level.WARN: "warned", Level.NOT_CHECKED: "not checked", Level.OK: "ok"}
_WIDEST = max(len(check.name) for check in CHECKS)


@app.command(epilog="Example: dispatcher doctor --handshake hooks.example.com")
def doctor(
    context: typer.Context,
    handshake: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="Try TLS with HOST or HOST:PORT", show_default="the public URL's"),
    ] = None,
    json: AsJson = False,
) -> None:
    """Say whether all is well, and if not, what to do.

    It tries settings, database, broker, processes, certificates, mail server and the time of a claim. It changes
    nothing and sends no mail: what it writes for a trial it takes back. Each check has 5 seconds; those with a process
    of their own have 20.
    Exit status: 0 nothing failed (warnings do not count), 1 a check failed.
    """
    if handshake is not None:
        try:
            read_place(handshake)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--handshake") from None
    try:
        with console(stderr=True).status("trying everything, for some seconds"):  # at a terminal
            report = run(CHECKS, Patient(installation_of(context), handshake or ""))
    except ConfigurationError as error:
        report = _of_wrong_settings(error)
    if json:
        print_json(_document(report))
    else:
        _print(report)
    if any(worst(found) is Level.FAIL for found in report.values()):
        raise typer.Exit(1)


def _of_wrong_settings(error: ConfigurationError) -> Report:
    lines = error.lines if isinstance(error, WrongSettings) else [str(error)]
    return {
        check.name: [fail(line, "") for line in lines]
        if check.name == "settings"
        else [not_checked("not checked: see `settings`")]
        for check in CHECKS
    }


def _document(report: Report) -> dict[str, Any]:
    levels = [worst(found) for found in report.values()]
    return {
        "level": worst([one for found in report.values() for one in found]),
        "counts": {level: levels.count(level) for level in Level},
        "checks": [
            {"group": check.group, "name": check.name, "level": worst(found), "findings": list(found)}
            for check in CHECKS
            for found in [report[check.name]]
        ],
    }


def _print(report: Report) -> None:
    for group, checks in groupby(CHECKS, key=lambda check: check.group):
        print_section(group)
        for check, one, is_first in _lines(list(checks), report):
            _print_finding(check.name if is_first else "", one)
    levels = [worst(found) for found in report.values()]
    counts = ", ".join(f"{levels.count(level)} {word}" for level, word in _COUNTED.items() if level in levels)
    print_line("")
    print_line(counts)


def _lines(checks: Sequence[Check], report: Report) -> Iterator[tuple[Check, Finding, bool]]:
    for check in checks:
        for number, one in enumerate(report[check.name]):
            yield check, one, number == 0


def _print_finding(name: str, one: Finding) -> None:
    head = f"  {_WORDS[one.level]:<4}  {name:<{_WIDEST}}  "
    place = f"{one.where}: " if one.where else ""
    indent = " " * len(head)
    print_sentence(f"{head}{place}{one.says}", console(), style=_STYLES[one.level], indent=indent)
    if one.advice:
        print_sentence(f"{indent}-> {one.advice}", console(), style=_STYLES[one.level], indent=f"{indent}   ")
