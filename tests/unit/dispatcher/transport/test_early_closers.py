"""Receivers that close right after an answer are remembered for a while, and not too many of them."""

from dispatcher.transport import early_closers
from dispatcher.transport.checks import split_url
from dispatcher.transport.early_closers import EarlyClosers

ONE, OTHER = (split_url(f"https://{name}.example/").origin for name in ("one", "other"))


def test_a_receiver_is_remembered_for_ten_minutes_after_it_was_seen_last() -> None:
    closers = EarlyClosers()
    assert not closers.has(ONE, 0.0)
    closers.add(ONE, 0.0)
    closers.add(ONE, 300.0)
    assert closers.has(ONE, 899.0)
    assert not closers.has(OTHER, 899.0)
    assert not closers.has(ONE, 900.0)


def test_of_too_many_the_first_are_forgotten() -> None:
    closers = EarlyClosers()
    origins = [split_url(f"https://receiver-{number}.example/").origin for number in range(early_closers._MOST + 1)]
    for origin in origins:
        closers.add(origin, 0.0)
    assert [closers.has(origin, 1.0) for origin in origins] == [False] + [True] * early_closers._MOST
