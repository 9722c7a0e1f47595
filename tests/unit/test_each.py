"""Many cases in one test: none is left out, and each that fails is named."""

import pytest

from tests.each import each


def test_all_cases_are_tried_and_each_that_fails_is_named() -> None:
    tried = []

    @each("number, text", [(1, "a"), (2, "b"), (3, "c")])
    def check(number: int, text: str) -> None:
        tried.append(text)
        if number == 3:
            pytest.fail("as pytest.raises does")
        assert number == 2

    with pytest.raises(BaseExceptionGroup, match="2 of 3 cases failed") as failed:
        check()
    assert tried == ["a", "b", "c"]
    assert [one.__notes__ for one in failed.value.exceptions] == [
        ["with number, text = (1, 'a')"],
        ["with number, text = (3, 'c')"],
    ]


def test_one_value_is_given_as_it_is_and_nothing_is_raised_where_all_is_well() -> None:
    tried = []
    each("pair", [(1, 2)])(tried.append)()
    assert tried == [(1, 2)]


def test_no_case_at_all_is_a_failure() -> None:
    with pytest.raises(AssertionError):
        each("number", [])(print)()
