"""What others wrote cannot steer a terminal, and is still readable."""

import json
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.masking.terminal import _DANGEROUS, ascii_json, safe_json, safe_text
from tests import hostile_values
from tests.each import each
from tests.hostile_values import steering


@each(
    "text, shown",
    [
        ("plain, naïve, 日本, 🎉, نص", "plain, naïve, 日本, 🎉, نص"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb", r"a\x0db"),
        ("a\x08\x7f", r"a\x08\x7f"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("\u2066\u2069\u200f\u061c", r"\u2066\u2069\u200f\u061c"),
        ("a\nb\tc", r"a\x0ab\x09c"),
        ("line\u2028break", r"line\u2028break"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_what_could_steer_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert safe_text(text) == shown


def test_lines_are_kept_where_they_are_wanted() -> None:
    assert safe_text("one\r\ntwo\n\tthree\rfour", lines=True) == "one\ntwo\n\tthree\\x0dfour"


@given(st.text(st.characters()), st.booleans())
def test_no_control_character_is_left(text: str, lines: bool) -> None:
    safe = safe_text(text, lines=lines)
    allowed = {"\n", "\t"} if lines else set[str]()
    assert all(character.isprintable() or ord(character) >= 0x80 or character in allowed for character in safe)
    assert not steering(safe, allowed="\n\t\u200c\u200d" if lines else "\u200c\u200d")


@each("text", hostile_values.ALL.values())
def test_what_is_hostile_is_shown_on_one_line_and_steers_nothing(text: str) -> None:
    assert not steering(safe_text(text), allowed="")
    assert len(safe_text(text).splitlines()) == 1
    assert safe_text(safe_text(text)) == safe_text(text)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_in_ascii_is_the_same_document(value: object) -> None:
    text = ascii_json(json.dumps(value, ensure_ascii=False))
    assert text.isascii()
    assert "\x7f" not in text
    assert json.loads(text) == value


def test_every_character_that_can_steer_is_known() -> None:
    steers = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in steers and character not in "\u200c\u200d":
            assert _DANGEROUS.match(character), hex(code)
        elif unicodedata.category(character) != "Cn":  # a newer Unicode may have given it a meaning
            assert not _DANGEROUS.match(character) or code in range(0x13430, 0x13440), hex(code)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_that_steers_nothing_is_the_same_document(value: object) -> None:
    safe = safe_json(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(safe) == value
    assert not steering(safe, allowed="\n\t\u200c\u200d")


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_so_is_json_with_very_much_that_steers(value: object) -> None:
    safe = safe_json(json.dumps([value, "\u202e" * 1_000], ensure_ascii=False, indent="\t"))
    assert safe.isascii()
    assert "\x7f" not in safe
    assert json.loads(safe) == [value, "\u202e" * 1_000]


def test_a_million_characters_that_steer_are_not_escaped_one_by_one() -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    document = '"' + "a\u202e\x85\U000e0041" * 10_000 + '"'
    sys.setprofile(count)
    try:
        safe_json(document)
    finally:
        sys.setprofile(None)
    assert calls < 3_000, "the event loop serves nobody meanwhile"


def test_json_that_people_can_read_stays_so() -> None:
    assert safe_json('"naïve, 日本, 🎉, نص"') == '"naïve, 日本, 🎉, نص"'
    assert safe_json('"\u202e\x9b\x7f\U000e0041"') == r'"\u202e\u009b\u007f\udb40\udc41"'
