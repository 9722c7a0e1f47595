"""Numbers and times as people write them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from gettext import NullTranslations
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.console.cookies import zone_named
from dispatcher.console.words import Words, parts_of
from tests.each import each

NOW = datetime(2026, 11, 27, 20, 57, 40, tzinfo=UTC)
WORDS = Words(ZoneInfo("Africa/Johannesburg"), NOW, NullTranslations())
NARROW = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (NOW, "22:57:40"),
        (NOW.replace(hour=22, minute=0, second=0), "Sat 28 Nov, 00:00:00"),  # already tomorrow there
        (NOW - timedelta(days=1), "Thu 26 Nov, 22:57:40"),
        (NOW - timedelta(days=365), "Thu 27 Nov 2025, 22:57:40"),
    ],
)
def test_a_time_is_written_in_the_readers_zone_with_its_day_unless_it_is_today(at: datetime, written: str) -> None:
    assert WORDS.moment(at) == written


def test_a_time_is_written_in_full_in_utc() -> None:
    assert WORDS.whole(NOW.astimezone(ZoneInfo("Asia/Tokyo"))) == "2026-11-27 20:57:40 UTC"


@each(
    "seconds, written",
    [
        (0.0004, "0 ms"),
        (0.212, "212 ms"),
        (1, "1 s"),
        (9.96, "10.0 s"),
        (2.5, "2.5 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (192, "3 min 12 s"),
        (3600, "1 h"),
        (3601, "1 h"),
        (7 * 3600 + 120, "7 h 2 min"),
        (86_400 * 2 + 3600, "2 d 1 h"),
        (86_400 * 1234, "1,234 d"),
    ],
)
def test_a_span_has_two_units_at_most(seconds: float, written: str) -> None:
    assert WORDS.span(seconds) == written.replace(" m", f"{NARROW}m").replace(" s", f"{NARROW}s").replace(
        " h", f"{NARROW}h"
    ).replace(" d", f"{NARROW}d")
    assert WORDS.span(timedelta(seconds=seconds)) == WORDS.span(seconds)


def test_what_is_near_is_told_from_now() -> None:
    assert WORDS.ago(NOW - timedelta(minutes=43)) == f"43{NARROW}min ago"
    assert WORDS.ago(NOW + timedelta(seconds=49)) == f"in 49{NARROW}s"
    assert WORDS.ago(NOW) == "now"


@pytest.mark.parametrize(
    ("part", "whole", "written"),
    [(0, 5, "0"), (5, 5, "100"), (99_999, 100_000, "99.9"), (1, 100_000, "0.1"), (976, 1000, "97.6"), (0, 0, "–")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(part: int, whole: int, written: str) -> None:
    assert WORDS.percent(part, whole) == written


def test_numbers_have_commas_and_sizes_units() -> None:
    assert [WORDS.number(1234567), WORDS.number(104.24)] == ["1,234,567", "104.2"]
    assert [WORDS.size(999), WORDS.size(1500), WORDS.size(2_500_000_000)] == [
        f"999{NARROW}B",
        f"1.5{NARROW}kB",
        f"2.5{NARROW}GB",
    ]


@pytest.mark.parametrize(
    "name", [None, "", "Nowhere/There", "../../etc/passwd", "/etc/localtime", "Africa", "a" * 200, "posixrules\0", "ü"]
)
def test_what_is_no_zone_is_utc(name: str | None) -> None:
    assert zone_named(name) is UTC


def test_the_times_in_a_sentence_are_found() -> None:
    said = "Attempt 2 failed at 2026-11-27 20:23:19Z (34 min ago); the next is due at 2026-11-27 21:00:00Z (in 2 min)."
    parts = list(parts_of(said))
    assert [part for part in parts if isinstance(part, datetime)] == [
        datetime(2026, 11, 27, 20, 23, 19, tzinfo=UTC),
        datetime(2026, 11, 27, 21, tzinfo=UTC),
    ]
    assert "".join(f"{part:%Y-%m-%d %H:%M:%SZ}" if isinstance(part, datetime) else part for part in parts) == said


@given(st.text() | st.from_regex(r"(a\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ)+"))
@example("since 9999-99-99 99:99:99Z")
@example("9999-12-31 23:59:59Z 0001-01-01 00:00:00Z")
def test_a_time_that_others_wrote_is_a_text_if_it_is_none(said: str) -> None:
    for zone in ("America/Los_Angeles", "Pacific/Auckland"):
        words = replace(WORDS, zone=ZoneInfo(zone))
        read = ""
        for part in parts_of(said):
            read += part if isinstance(part, str) else part.isoformat(" ").replace("+00:00", "Z")
            if isinstance(part, datetime):
                assert words.moment(part)
                assert words.whole(part)
                assert words.ago(part)
        assert read == said
