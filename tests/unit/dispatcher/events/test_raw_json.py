"""JSON objects taken apart: the members are those of `json.loads`, and each value keeps its own text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.events.raw_json import compact, object_members

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_SPACES = st.text(alphabet=" \t\r\n", max_size=3)


@st.composite
def _documents(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """A JSON object with white space anywhere between its parts, and the text of each member's value."""
    members = draw(st.dictionaries(st.text(), _VALUES, max_size=6))
    ascii_only = draw(st.booleans())
    raw = {
        name: json.dumps(value, ensure_ascii=ascii_only, indent=draw(st.sampled_from([None, 2])))
        for name, value in members.items()
    }
    parts = [
        draw(_SPACES).join(["", json.dumps(name, ensure_ascii=ascii_only), ":", text, ""]) for name, text in raw.items()
    ]
    return f"{draw(_SPACES)}{{{','.join(parts) or draw(_SPACES)}}}{draw(_SPACES)}", raw


@given(_documents())
def test_members_keep_the_very_text_of_their_values_in_order(document: tuple[str, dict[str, str]]) -> None:
    text, raw = document
    assert list(object_members(text).items()) == list(raw.items())


@given(_documents())
def test_the_values_read_are_those_of_json_loads(document: tuple[str, dict[str, str]]) -> None:
    text, _ = document
    assert {name: json.loads(raw) for name, raw in object_members(text).items()} == json.loads(text)


@given(st.text(alphabet='{}[]":,0123456789eE+-.truefalsn \\\u00e9', max_size=40))
def test_what_it_accepts_is_what_json_loads_accepts(text: str) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs)

    try:
        members = object_members(text)
    except ValueError:
        # It refuses more than json.loads: what is no object, and names that stand twice.
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except ValueError:
            return
        assert not text.strip(" \t\r\n").startswith("{") or len(dict(pairs)) < len(pairs)
        return
    assert {name: json.loads(raw) for name, raw in members.items()} == json.loads(text, object_pairs_hook=unique)


@pytest.mark.parametrize(
    "raw",
    [
        "12345678901234567890123",
        "9" * 100_000,
        "0." + "1" * 100_000,
        "1.10",
        "1e400",
        "-0",
        "-0.0",
        "1E+2",
        '"\\u00e9"',
        '"\\ud800"',
        '"\\/"',
    ],
)
def test_a_value_is_not_rewritten(raw: str) -> None:
    assert object_members(f'{{"data": {raw} }}') == {"data": raw}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[1]",
        "{",
        "{}x",
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        '{"a":1 "b":2}',
        "{'a':1}",
        '{"a":NaN}',
        '{"a":[-Infinity]}',
        '{"a":"\n"}',
        '{"a":1,"a":2}',
        '{"a":1,"\\u0061":2}',
        '{"%s":1,"%s":2}' % (("x" * 100_000,) * 2),
        "\ufeff{}",
        '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_what_is_no_unambiguous_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        object_members(text)
    assert len(str(refused.value)) < 100


@given(st.lists(st.tuples(st.text(st.characters(), max_size=3), st.text("0123456789", min_size=1, max_size=20))))
def test_every_member_is_found_with_its_digits_in_order_or_a_name_stands_twice(pairs: list[tuple[str, str]]) -> None:
    pairs = [(name, f"1{digits}.{digits}e{digits}") for name, digits in pairs]
    text = "{" + ",".join(f"{json.dumps(name)}:{raw}" for name, raw in pairs) + "}"
    if len({name for name, _ in pairs}) == len(pairs):
        assert list(object_members(text).items()) == pairs
    else:
        with pytest.raises(ValueError, match="twice"):
            object_members(text)


@given(_VALUES)
def test_compacting_removes_white_space_only(value: Any) -> None:
    assert compact(json.dumps(value, indent=3)) == json.dumps(value, separators=(",", ":"))
