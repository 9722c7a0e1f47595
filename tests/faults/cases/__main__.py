"""`./run.sh faults`: does faults to an installation one by one, or mixed, and prints a verdict on each."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli.help_page import Command
from tests.faults.cases.case import SLACK, Case
from tests.faults.cases.catalog import BY_NAME, SHORT, STORM
from tests.faults.cases.mixing import make_mix
from tests.faults.cases.running import Outcome, Suite, running_suite
from tests.faults.foreground import Show, in_the_foreground
from tests.faults.plan import make_plan
from tests.faults.storm import keep_all, run_storm
from tests.faults.verdict import Verdict

EXAMPLES = 5  # of each problem
SHOW_EVERY = 10.0  # seconds, where there is no terminal
STORM_MINUTES = 0.5

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


def _known(names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in BY_NAME and name != STORM]
    if unknown:
        raise typer.BadParameter(f"there is no case {unknown[0]!r}: ./run.sh faults --list shows all")
    return names


def _list(wanted: bool) -> None:
    if wanted:
        for case in BY_NAME.values():
            lasts = f"lasts {case.lasts:g} s, " if case.lasts else ""
            why = f"; skipped here: {reason}" if (reason := case.why_not()) else ""
            claims = ", and what was claimed when its claim expires" if case.loses_claims else ""
            print(f"{case.name}: {case.about} ({lasts}flows again within {case.promise:g} s{claims}{why})")
        print(f"{STORM}: everything bad at once, on a rig of its own, as ./run.sh storm does it")
        raise typer.Exit


@app.command(cls=Command, epilog=f"A short run has: {', '.join(SHORT)}.")
def faults(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", callback=lambda names: _known(names or []))
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="Six cases, and all faults shorter")] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.2, max=600, help="Mix the cases for so long, several at once")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same faults at the same times")] = 1,
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep ledgers, logs and all problems here")
    ] = None,
    _shown: Annotated[
        bool, typer.Option("--list", is_eager=True, callback=_list, help="Show the cases, and what is promised")
    ] = False,
) -> None:
    """Do faults to a whole installation, one after the other, and judge what arrives.

    It starts its own PostgreSQL, Valkey, mail server, workers, API, receivers and a backend on temporary data. The
    processes reach the servers through a relay that can do to their connections what networks do. While a fault lasts
    and after it, a backend sends steady events, by `enqueue` and over the API; some must be retried, and some cause
    mails. For each event and webhook the ledgers of both ends are compared with what is on record. It fails on what is
    lost, late, discarded, there twice without a reason, retried early, out of order or not on record, on a notice that
    is mailed twice, and if everything flows again later than promised (with threefold slack).

    Without names it does all cases, one by one. With --minutes it mixes them, repeatably from the seed. Progress goes
    to standard error. Exit status: 0 passed, 1 failed, 2 it could not be run, 130 stopped.
    """
    if minutes is not None and STORM in (names or ()):
        raise typer.BadParameter("the storm has a rig of its own: it cannot be mixed with others")
    chosen = names or (list(SHORT) if short else [*BY_NAME, *([STORM] if minutes is None else [])])
    cases = list(_possible(BY_NAME[name] for name in chosen if name != STORM))
    passed = True
    with in_the_foreground("the suite of faults", show_every=SHOW_EVERY) as show:
        if minutes is not None:
            passed = _mixed(cases, minutes, seed, keep, show)
        elif cases:
            passed = _one_by_one(cases, short=short, keep=keep, show=show)
        if STORM in chosen:
            passed = _storm(seed, keep, show) and passed
    raise typer.Exit(0 if passed else 1)


def _possible(cases: Iterable[Case]) -> Iterator[Case]:
    for case in cases:
        if reason := case.why_not():
            print(f"SKIPPED {case.name}: {reason}", flush=True)
        else:
            yield case


def _needs_disk(cases: list[Case]) -> bool:
    return any(case.name == "disk-full" for case in cases)


def _one_by_one(cases: list[Case], *, short: bool, keep: Path | None, show: Show) -> bool:
    """On one rig, until one does not recover: the next case has a new rig."""
    failed: list[str] = []
    todo = list(cases)
    for rig in count(1):
        if not todo:
            break
        with running_suite(small_disk=_needs_disk(todo)) as suite:
            try:
                failed += _until_one_stays(todo, suite, short=short, keep=keep, show=show)
            finally:
                if keep is not None:
                    keep_all(suite.rig, keep / f"rig-{rig}")
    again = f"; again: ./run.sh faults {' '.join(failed)}" if failed else ""
    print(f"{len(cases) - len(failed)} of {len(cases)} passed{again}")
    return not failed


def _until_one_stays(todo: list[Case], suite: Suite, *, short: bool, keep: Path | None, show: Show) -> Iterator[str]:
    while todo:
        case, began = todo.pop(0), time.monotonic()
        outcome = suite.run(case, short=short, show=show)
        _print(case, outcome, time.monotonic() - began)
        _keep_problems(keep, case.name, outcome.verdict)
        if not outcome.verdict.passed:
            yield case.name
        if not outcome.recovered:
            return


def _mixed(cases: list[Case], minutes: float, seed: int, keep: Path | None, show: Show) -> bool:
    mix = make_mix(cases, minutes * 60, seed)
    print(f"Mix of {minutes * 60:.0f} s, seed {seed}: {len(mix)} faults.", flush=True)
    with running_suite(small_disk=_needs_disk(cases)) as suite:
        try:
            verdict = suite.run_mix(mix, minutes * 60, lambda line: print(line, flush=True), show)
        finally:
            if keep is not None:
                keep_all(suite.rig, keep)
    _keep_problems(keep, "mix", verdict)
    _print_verdict(verdict)
    print(f"{'PASSED' if verdict.passed else 'FAILED'}: ./run.sh faults --minutes {minutes:g} --seed {seed}")
    return verdict.passed


def _storm(seed: int, keep: Path | None, show: Show) -> bool:
    verdict = run_storm(make_plan(STORM_MINUTES, seed), lambda _: None, show, keep and keep / STORM)
    print(f"{'passed' if verdict.passed else 'FAILED'} {STORM}", flush=True)
    _print_verdict(verdict)
    return verdict.passed


def _print(case: Case, outcome: Outcome, seconds: float) -> None:
    flows = ", ".join(f"{way} {'never' if at == inf else f'{at:.1f}'}" for way, at in outcome.recovery.items())
    print(
        f"{'passed' if outcome.verdict.passed else 'FAILED'} {case.name}: {seconds:.0f} s; seconds until it flowed "
        f"again, of {case.promise:g} x {SLACK:g}: {flows}",
        flush=True,
    )
    _print_verdict(outcome.verdict)


def _print_verdict(verdict: Verdict) -> None:
    endings = ", ".join(f"{count} {ending}" for ending, count in Counter(verdict.endings.values()).most_common())
    print(f"    {verdict.sent.total()} events: {endings}", flush=True)
    for problem, texts in verdict.problems.items():
        print(f"    {problem.upper()}: {len(texts)}")
        for text in texts[:EXAMPLES]:
            print(f"        {text}", flush=True)


def _keep_problems(folder: Path | None, name: str, verdict: Verdict) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{problem}: {text}\n" for problem, texts in verdict.problems.items() for text in texts]
        (folder / f"{name}.problems").write_text("".join(lines))
        ends = [f"{delivery}: {ending}\n" for delivery, ending in verdict.endings.items()]
        (folder / f"{name}.endings").write_text("".join(ends))


if __name__ == "__main__":
    app(prog_name="./run.sh faults")
