"""Many cases in one test: for checks that take less time than pytest needs for a test of its own."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def each(names: str, cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Used as `pytest.mark.parametrize`, where no fixture is needed. All cases are tried, and each that fails is
    named."""
    several = "," in names

    def decorate(check: Callable[..., None]) -> Callable[[], None]:
        def test() -> None:
            failures: list[BaseException] = []
            tried = 0
            for tried, case in enumerate(cases, 1):  # noqa: B007
                try:
                    check(*case) if several else check(case)
                except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001 - all of them are reported
                    failure.add_note(f"with {names} = {case!r}")
                    failures.append(failure)
            assert tried
            if failures:
                raise BaseExceptionGroup(f"{len(failures)} of {tried} cases failed", failures)

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate
