from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.cli.times import read_time

NOW = datetime(2025, 6, 15, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("0s", timedelta()),
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        ("2d", timedelta(days=2)),
        ("1w", timedelta(weeks=1)),
    ],
)
def test_a_span_is_counted_back_from_now(text: str, back: timedelta) -> None:
    assert read_time(text, now=NOW) == NOW - back


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2025-01-31", datetime(2025, 1, 31, tzinfo=UTC)),
        ("2025-01-31 18:00", datetime(2025, 1, 31, 18, tzinfo=UTC)),
        ("2025-01-31T18:00:30", datetime(2025, 1, 31, 18, 0, 30, tzinfo=UTC)),
        ("2025-01-31T18:00:30Z", datetime(2025, 1, 31, 18, 0, 30, tzinfo=UTC)),
        ("2025-01-31T18:00:30+02:00", datetime(2025, 1, 31, 16, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_utc_unless_it_says_more(text: str, time: datetime) -> None:
    assert read_time(text, now=NOW) == time


@pytest.mark.parametrize(
    "text", ["", "1", "h", "-1h", "1.5h", "1 h", "1y", "now", "999999999w", "0001-01-01T00:00+02:00"]
)
def test_what_is_neither_is_refused_with_what_is_wanted(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a time such as 2025-01-31, .* 1w ago"):
        read_time(text, now=NOW)
