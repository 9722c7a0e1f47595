"""The colour of a platform: readable in both themes, or refused."""

import pytest

from dispatcher.settings.accents import DARK, LEAST, WHITE, check_accent, contrast, mix, on_dark


@pytest.mark.parametrize(
    ("one", "other", "ratio"), [("#000000", WHITE, 21.0), ("#ffffff", WHITE, 1.0), ("#777777", WHITE, 4.48)]
)
def test_contrast_is_that_of_wcag(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == contrast(other, one) == pytest.approx(ratio, abs=0.005)


def test_a_colour_that_cannot_be_read_on_white_is_refused() -> None:
    assert check_accent("#767676") == "#767676"
    with pytest.raises(ValueError, match=r"contrast of 4\.5:1 to white.*take a darker one"):
        check_accent("#777777")
    with pytest.raises(ValueError, match="must be a colour like"):
        check_accent("#767676; }")


@pytest.mark.parametrize("accent", ["#000000", "#0b57c9", "#7a0019", "#00695c", "#767676"])
def test_a_dark_page_gets_a_lighter_one_of_the_same_colour(accent: str) -> None:
    assert contrast(on_dark(accent), DARK) >= LEAST


def test_no_more_white_is_mixed_in_than_is_needed() -> None:
    assert on_dark("#8ab8ff") == "#8ab8ff"
    assert mix("#000000", WHITE, 0.5) == "#808080"
