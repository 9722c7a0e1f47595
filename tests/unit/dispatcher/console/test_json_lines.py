"""Messages are shown a line for each value, each as it was sent."""

import json

import pytest

from dispatcher.console.json_lines import indented


@pytest.mark.parametrize(
    "message",
    [
        '{"a":[1,-2.5,true,null,"x, y: {z}"],"b":{},"c":[],"d":{"e":[[]]}}',
        '"only a text \\" with \\\\"',
        "7",
        "[ ]",
        ' { "a" : 1 ,\n"b":[ 2 ] } ',
    ],
)
def test_it_is_written_as_the_standard_library_does_it(message: str) -> None:
    assert indented(message, 10_000) == (json.dumps(json.loads(message), indent=2), False)


def test_numbers_keep_their_digits_and_members_that_are_there_twice_stay() -> None:
    assert indented('{"n":1.10,"n":1e400}', 100) == ('{\n  "n": 1.10,\n  "n": 1e400\n}', False)


def test_what_is_long_or_deep_is_cut_and_costs_no_more() -> None:
    shown, is_cut = indented("[" * 100_000, 5_000)
    assert (len(shown), is_cut) == (5_000, True)
    assert max(map(len, shown.split("\n"))) <= 81
    assert indented('"' + "x" * 100_000, 50)[1]  # no JSON, which a row may hold
