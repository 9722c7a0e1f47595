"""What is kept for all who look at the same."""

import gc
import weakref

import pytest

from dispatcher.console import looks
from dispatcher.console.looks import FRESH, Looks
from dispatcher.installation import Installation


class Series:
    """Something large that was read."""


def test_what_could_not_be_read_is_forgotten_as_all_else_and_keeps_nothing_behind_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(looks, "monotonic", lambda: now)
    kept = Looks(installation)

    def takes_too_long() -> object:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        kept.fresh("slow", takes_too_long)
    read = weakref.ref(kept.fresh("series", Series))
    assert read() is not None
    now += 10 * FRESH
    kept.fresh("other", Series)
    gc.collect()
    assert read() is None
    assert isinstance(kept.fresh("slow", Series), Series), "and it is read again"
