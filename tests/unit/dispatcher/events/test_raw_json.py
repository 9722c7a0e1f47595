"""JSON objects taken apart: the members are those of `json.loads`, and each value keeps its own text."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.events.raw_json import compact, object_members, stringified
from tests import hostile_values
from tests.each import each

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
    ("text", "missing"),
    [
        ('{"a"  1}', "a colon is missing at character 6"),
        ('{"a" ', "a colon is missing at character 5"),
        ('{"a":1  "b":2}', "a comma or brace is missing at character 8"),
        ('{"a":1', "a comma or brace is missing at character 6"),
        ('{"a":1 ,  2}', "a name is missing at character 10"),
    ],
)
def test_a_refusal_says_where_what_is_missing(text: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"{missing}$"):
        object_members(text)


@each(
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


_SHORT = {'"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_ANY_TEXT = (
    st.text(st.characters(), max_size=6) | st.text('\x00\n\x1f\x7f"\\/\u00e9\u2028\ud83d\ude00\U0001f600', max_size=6)
).map(lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass"))  # pairs are one character
_JAVASCRIPTS_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _ANY_TEXT,
    # A name that looks like an integer changes its place in JavaScript.
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_ANY_TEXT.map(lambda name: f"a{name}"), inner, max_size=4)
    ),
    max_leaves=8,
)


def json_stringify(value: Any) -> str:
    """What JSON.stringify of JavaScript writes (ECMA-262, 25.5.2), for numbers that are whole and safe."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return quoted_by_javascript(value)
        case list():
            return f"[{','.join(map(json_stringify, value))}]"
        case _:
            return f"{{{','.join(f'{quoted_by_javascript(n)}:{json_stringify(v)}' for n, v in value.items())}}}"


def quoted_by_javascript(text: str) -> str:
    def written(character: str) -> str:
        if character in _SHORT:
            return f"\\{_SHORT[character]}"
        code = ord(character)
        return f"\\u{code:04x}" if code < 0x20 or 0xD800 <= code <= 0xDFFF else character

    return f'"{"".join(map(written, text))}"'


@st.composite
def _spellings(draw: st.DrawFn) -> str:
    """A JSON text with white space and escapes wherever they may stand."""
    space = draw(st.lists(_SPACES, min_size=1, max_size=5))
    ways = draw(st.lists(st.integers(0, 3), min_size=1, max_size=7))
    turn = iter(range(1_000_000))

    def blank() -> str:
        return space[next(turn) % len(space)]

    def character(one: str) -> str:
        way = ways[next(turn) % len(ways)]
        if way == 0 and one in _SHORT | {"/": "/"}:
            return f"\\{(_SHORT | {'/': '/'})[one]}"
        if way <= 1 and one not in '"\\' and ord(one) >= 0x20 and not 0xD800 <= ord(one) <= 0xDFFF:
            return one
        units = one.encode("utf-16-be", "surrogatepass")
        codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
        return "".join(f"\\u{code:04X}" if way == 2 else f"\\u{code:04x}" for code in codes)

    def spelled(value: Any) -> str:
        match value:
            case str():
                text = f'"{"".join(map(character, value))}"'
            case list():
                text = f"[{','.join(map(spelled, value))}]" if value else f"[{blank()}]"
            case dict():
                text = f"{{{','.join(f'{spelled(name)}:{spelled(held)}' for name, held in value.items())}}}"
            case _:
                text = json.dumps(value)
        return f"{blank()}{text}{blank()}"

    return spelled(draw(_JAVASCRIPTS_VALUES))


@given(_spellings())
def test_stringified_text_is_what_javascript_writes_of_the_parsed_value(text: str) -> None:
    parsed = json.loads(text)
    written = stringified(text)
    assert written == json_stringify(parsed)
    assert json.loads(written) == parsed
    assert stringified(written) == written
    assert json.loads(written.encode()) == parsed  # whatever it holds, it is UTF-8


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (' { "b" : 1.0 , "a" : 9007199254740993 , "b" : -0 , "2":1E400,"1": 1e5 } ', None),
        (r'"\u0041\/\u00e9\u2028\ud83d\uDE00\u007f"', '"A/\u00e9\u2028\U0001f600\x7f"'),
        (r'"\u000A\u0022\u005C\u001F\u0000"', r'"\n\"\\\u001f\u0000"'),
        (r'"\" , \\"', r'"\" , \\"'),
        (r'"\uDE00\uD83D"', r'"\ude00\ud83d"'),
    ],
)
def test_stringifying_leaves_numbers_order_duplicates_and_needed_escapes_alone(text: str, written: str | None) -> None:
    assert stringified(text) == (written if written is not None else text.replace(" ", ""))


@each("message", hostile_values.JSON.values())
def test_any_message_that_can_be_stored_can_be_stringified(message: bytes) -> None:
    written = stringified(message.decode())
    assert written.encode()
    assert stringified(written) == written


@pytest.mark.parametrize("text", ["[" + "1, " * 20_000 + "1]", "[" + '"",' * 20_000 + "1]"], ids=["spaces", "strings"])
def test_a_message_of_very_many_parts_is_not_stringified_part_by_part(text: str) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        written = stringified(text)
    finally:
        sys.setprofile(None)
    assert written == text.replace(" ", "")
    assert calls < 20, "a loop that sends does nothing else meanwhile"
