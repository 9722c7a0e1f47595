"""How long a loop goes on that was asked to stop."""

from math import inf

from workers.lifetime import Lifetime


def test_the_time_of_grace_begins_when_the_stop_was_asked_for() -> None:
    lifetime = Lifetime(0.0, 35.0)
    assert not lifetime.grace_is_over(1000.0, stopping=False, asked_at=inf)
    # It had waited 28 seconds for a silent database before it saw that.
    assert not lifetime.grace_is_over(1028.0, stopping=True, asked_at=1000.0)
    assert not lifetime.grace_is_over(1034.9, stopping=True, asked_at=1000.0)
    assert lifetime.grace_is_over(1035.0, stopping=True, asked_at=1000.0)


def test_where_nobody_asked_it_begins_when_the_loop_sees_that_it_must_stop() -> None:
    """As when the main process has died."""
    lifetime = Lifetime(0.0, 35.0)
    assert not lifetime.grace_is_over(1000.0, stopping=True, asked_at=inf)
    assert not lifetime.grace_is_over(1034.9, stopping=True, asked_at=inf)
    assert lifetime.grace_is_over(1035.0, stopping=True, asked_at=inf)
