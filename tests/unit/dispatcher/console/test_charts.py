"""Charts that the server makes."""

import re

import pytest

from dispatcher.console.charts import Bar, Dots, bars, lines, nice_step, short, spark

SERIES = [Bar(f"{hour:02}:00", {"ok": 100 * hour, "wait": hour, "bad": hour % 2}) for hour in range(24)]


def heights(drawn: str, kind: str) -> list[float]:
    (path,) = re.findall(f'<path class="s-{kind}" d="([^"]*)"', drawn)
    return [float(height) for height in re.findall(r"v-([\d.]+)", path)]


def test_bars_are_as_high_as_their_numbers() -> None:
    drawn = bars(SERIES, "says", width=1180, labels=8)
    assert len(heights(drawn, "ok")) == 23  # of nothing there is no bar
    tall = heights(drawn, "ok")
    assert tall[-1] == pytest.approx(23 * tall[0], rel=0.02)
    assert max(tall) < 168


def test_what_is_there_at_all_can_be_seen() -> None:
    assert heights(bars([Bar("", {"ok": 1_000_000, "bad": 1})], "", width=340, labels=1), "bad") == [1]


def test_few_labels_stand_below_and_numbers_beside_the_lines() -> None:
    drawn = bars(SERIES, "says", width=1180, labels=8)
    assert len(re.findall(r'text-anchor="middle"', drawn)) == 8
    assert re.findall(r'text-anchor="end">([^<]*)<', drawn) == ["0", "1k", "2k", "3k"]


def test_only_round_bars_are_named() -> None:
    series = [Bar(f"{at}", {"ok": 1}, is_round=at % 3 == 0) for at in range(24)]
    for labels, named in ((8, "0 3 6 9 12 15 18 21"), (4, "3 9 15 21")):
        drawn = bars(series, "", width=1180, labels=labels)
        assert re.findall(r'text-anchor="middle">([^<]*)<', drawn) == named.split()


def test_a_chart_of_nothing_is_a_chart() -> None:
    for series in ([], [Bar("now", {})], [Bar("now", {"ok": 0})]):
        assert "<path" not in bars(series, "Nothing was sent.", width=340, labels=3) + spark(series)


def test_nothing_in_a_chart_is_markup() -> None:
    drawn = bars([Bar('<b onload="x">', {'x" onload="y': 1})], '"><script>', width=340, labels=1)
    assert "<script" not in drawn
    assert "<b" not in drawn
    assert not re.search(r'" onload="', drawn)


def test_it_says_what_it_shows() -> None:
    drawn = bars(SERIES, "24 hours, 97.6 % delivered", width=1180, labels=8)
    assert 'role="img" aria-label="24 hours, 97.6 % delivered"' in drawn
    assert 'aria-hidden="true"' in spark(SERIES)


@pytest.mark.parametrize(
    ("most", "step"), [(0, 1), (4, 1), (5, 2), (9, 5), (20, 5), (21, 10), (79, 20), (9_000, 5_000), (10**9, 5 * 10**8)]
)
def test_there_are_few_lines_at_round_numbers(most: int, step: int) -> None:
    assert nice_step(most) == step


def test_large_numbers_are_short() -> None:
    assert [short(n) for n in (0, 999, 1000, 2500, 5 * 10**6, 10**10)] == ["0", "999", "1k", "2.5k", "5M", "10G"]


def test_beside_the_lines_of_times_stand_their_units() -> None:
    drawn = lines([Dots("12:00", {"most": most}) for most in (200.0, 1400.0)], "says", width=340, labels=4)
    assert re.findall('text-anchor="end">([^<]*)<', drawn) == ["0", "500 ms", "1 s", "1.5 s"]
