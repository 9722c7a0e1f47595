"""Checks run side by side: none keeps another, none fails them all."""

import threading
from collections.abc import Sequence
from typing import Any, cast

import psycopg2.errors
import pytest
from sqlalchemy.exc import ProgrammingError

from dispatcher.diagnosis import running
from dispatcher.diagnosis.findings import Finding, Level, fail, not_checked, ok, warn, worst
from dispatcher.diagnosis.running import Check, Patient, run
from dispatcher.errors import ConfigurationError

NOBODY = cast(Patient, None)


def check(name: str, *found: Finding, needs: str = "") -> Check:
    return Check("group", name, lambda _: found, needs)


def raising(name: str, error: Exception) -> Check:
    def examine(_: Patient) -> Sequence[Finding]:
        raise error

    return Check("group", name, examine)


def levels(*checks: Check) -> dict[str, str]:
    return {name: str(worst(found)) for name, found in run(checks, NOBODY).items()}


def test_all_run_and_are_told_in_their_order() -> None:
    checks = [check("c", ok("")), check("a", fail("", ""), needs="b"), check("b", warn("", ""))]
    assert levels(*checks) == {"c": "ok", "a": "fail", "b": "warn"}
    assert list(run(checks, NOBODY)) == ["c", "a", "b"]


def test_one_that_hangs_is_a_failure_and_the_others_are_told() -> None:
    never = threading.Event()
    hanging = [Check("group", f"hangs {n}", lambda _: [ok(str(never.wait(20)))], seconds=0.05) for n in range(9)]
    try:
        found = run([*hanging, check("other", ok("fine"))], NOBODY)
    finally:
        never.set()
    assert list(found["other"]) == [ok("fine")]
    assert [found[one.name][0].says for one in hanging] == ["took more than 0 s"] * 9


def test_not_more_run_at_once_than_may_have_a_connection() -> None:
    at_once, most, lock, all_here = 0, [0], threading.Lock(), threading.Barrier(running.AT_ONCE)

    def examine(_: Patient) -> Sequence[Finding]:
        nonlocal at_once
        with lock:
            at_once += 1
            most.append(at_once)
        all_here.wait(5)
        with lock:
            at_once -= 1
        return [ok("")]

    run([Check("group", str(n), examine) for n in range(3 * running.AT_ONCE)], NOBODY)
    assert max(most) == running.AT_ONCE


@pytest.mark.parametrize("needed", [fail("away", ""), not_checked("no")])
def test_what_needs_one_that_fails_is_not_checked_and_says_which(needed: Finding) -> None:
    checks = [
        check("database", needed),
        check("tables", ok(""), needs="database"),
        check("rows", ok(""), needs="tables"),
    ]
    found = run(checks, NOBODY)
    assert found["tables"] == found["rows"] == [not_checked("not checked: see `database`")]


def test_a_warning_keeps_nobody() -> None:
    assert levels(check("a", warn("", "")), check("b", ok(""), needs="a")) == {"a": "warn", "b": "ok"}


def test_errors_are_findings_without_what_they_quote() -> None:
    refused: Any = psycopg2.errors.InsufficientPrivilege("permission denied for table events")
    found = run(
        [
            raising("settings", ConfigurationError("run `dispatcher migrate`")),
            raising("defect", ValueError("planted-secret")),
            raising("right", ProgrammingError("SELECT", {}, refused)),
        ],
        NOBODY,
    )
    assert found["settings"] == [fail("run `dispatcher migrate`", "")]
    assert found["defect"] == [fail("the check itself failed: ValueError", "report it")]
    assert worst(found["right"]) is Level.NOT_CHECKED
    assert "events" in found["right"][0].says
