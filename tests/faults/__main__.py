"""`./run.sh storm`: runs a storm, shows what happens, prints the verdict."""

import time
from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli.help_page import Command
from tests.faults.foreground import in_the_foreground, to_stderr
from tests.faults.plan import KINDS, NAMES, make_plan
from tests.faults.storm import run_storm
from tests.faults.verdict import Verdict

EXAMPLES = 5  # of each problem
SHOW_EVERY = 10.0  # seconds, where there is no terminal

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


def _known_kinds(names: list[str] | None) -> list[str]:
    unknown = [name for name in names or () if name not in NAMES]
    if unknown:
        raise typer.BadParameter(f"there is no kind {unknown[0]!r}; the kinds are: {', '.join(NAMES)}")
    return names or list(NAMES)


@app.command(cls=Command, epilog="\n\n".join(f"{kind.name}: {kind.about}." for kind in KINDS))
def storm(
    minutes: Annotated[
        float, typer.Option(min=0.1, max=600, help="How long faults happen; start and end take about a minute more")
    ] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same faults at the same times")] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="KIND", callback=_known_kinds, help="A kind of fault; may be given several times"
        ),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep ledgers, logs and all problems here")
    ] = None,
) -> None:
    """Do everything bad at once to a whole installation, and count what arrives.

    It starts its own PostgreSQL, Valkey, workers, API, receivers and a backend on temporary data. While faults of every
    kind happen, the backend sends steady events from several threads, half of them over the API. At the end two ledgers
    are compared, of what was accepted and of what arrived: nothing may be lost, late, or there twice without a death
    that explains it.

    A storm of less than 5 minutes has all faults, too, but shortened times. Progress goes to standard error. Exit
    status: 0 passed, 1 failed, 2 it could not be run, 130 stopped.
    """
    plan = make_plan(minutes, seed, only or NAMES)
    to_stderr.print(f"Storm of {plan.seconds:.0f} s, seed {seed}: {len(plan.steps)} faults. Starting.")
    began = time.monotonic()
    with in_the_foreground("a storm", show_every=SHOW_EVERY) as show:
        verdict = run_storm(plan, lambda line: to_stderr.print(line, soft_wrap=True), show, keep)
    chosen = only if only and set(only) != set(NAMES) else ()
    _print(verdict, time.monotonic() - began)
    if keep is not None:
        lines = [f"{problem}: {text}\n" for problem, texts in verdict.problems.items() for text in texts]
        (keep / "problems").write_text("".join(lines))
    again = f"./run.sh storm --minutes {minutes:g} --seed {seed}" + "".join(f" --only {name}" for name in chosen)
    print(f"{'PASSED' if verdict.passed else 'FAILED'}: {again}")
    raise typer.Exit(0 if verdict.passed else 1)


def _print(verdict: Verdict, seconds: float) -> None:
    events = ", ".join(f"{count} {role}" for role, count in sorted(verdict.sent.items()))
    print(f"Events: {events}. {seconds:.0f} s in all.")
    for role, delays in verdict.delays.items():
        middle, most = delays[len(delays) // 2], delays[-1 - len(delays) // 100]
        print(f"Delays, {role}: half within {middle:.3f} s, 99 % within {most:.2f} s, all within {delays[-1]:.1f} s.")
    print(f"Innocent deliveries: {verdict.innocent}; {verdict.received_again} more requests for some of them.")
    for problem, texts in verdict.problems.items():
        print(f"{problem.upper()}: {len(texts)}")
        for text in texts[:EXAMPLES]:
            print(f"    {text}")


if __name__ == "__main__":
    app(prog_name="./run.sh storm")
