"""Foreign text in mails: short, harmless, without secrets, whatever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import hostile_values
from tests.each import each
from tests.hostile_values import steering
from workers.notices.excerpts import MAX_CHARACTERS, MAX_LINES, excerpt, one_line


@pytest.mark.parametrize("body", [None, b"", b" \r\n \n"])
def test_an_empty_body_has_no_excerpt(body: bytes | None) -> None:
    assert excerpt(body) is None


def test_line_ends_of_every_kind_are_line_ends() -> None:
    assert excerpt("a\r\nb\rc\nd\u2028e\x85f".encode()) == "a\nb\nc\nd\ne\nf"


def test_control_and_direction_characters_are_shown_not_obeyed() -> None:
    assert excerpt("\x1b[2Jok \u202egnp.exe\u202c \x07".encode()) == "\ufffd[2Jok \ufffdgnp.exe\ufffd \ufffd"


def test_bytes_that_are_no_utf8_do_not_matter() -> None:
    assert excerpt(b"caf\xe9") == "caf\ufffd"


def test_a_binary_body_is_named_not_shown() -> None:
    assert excerpt(b"\x89PNG\0\0") == "(6 bytes that are not text)"


def test_a_long_body_is_cut_and_marked() -> None:
    cut = excerpt(b"x" * 5000)
    assert cut is not None
    assert cut.startswith("x" * MAX_CHARACTERS)
    assert cut.endswith(" […]")
    assert len(cut) < MAX_CHARACTERS + 10


def test_many_lines_are_cut_and_marked() -> None:
    cut = excerpt(b"line\n" * 100)
    assert cut == "\n".join(["line"] * MAX_LINES) + " […]"


def test_what_was_cut_before_is_marked_too() -> None:
    assert excerpt(b"short", cut=True) == "short […]"
    assert excerpt(b"short") == "short"


@pytest.mark.parametrize(
    ("body", "secret"),
    [
        (b"Cannot POST /hook.php?secret=pass763265word", b"pass763265word"),
        (b"No route for https://hooks.acme.test:8321/in?token=abc&key=xyz.", b"xyz"),
        (b'<a href="/services/T0K3N0fMANYletters99">here</a>', b"T0K3N0fMANYletters99"),
        (b'{"headers": {"Authorization": "Basic dXNlcjpwYXNz"}}', b"dXNlcjpwYXNz"),
        (b"authorization: Bearer abc.def", b"abc.def"),
        (b"http://[bad/?secret=s3cret", b"s3cret"),
    ],
)
def test_an_address_that_the_answer_repeats_is_masked(body: bytes, secret: bytes) -> None:
    shown = excerpt(body)
    assert shown is not None
    assert secret.decode() not in shown
    assert "***" in shown


@given(body=st.binary(max_size=5000), cut=st.booleans())
def test_no_body_is_an_error_and_every_excerpt_is_harmless(body: bytes, cut: bool) -> None:
    shown = excerpt(body, cut=cut)
    assert shown is None or (len(shown) < MAX_CHARACTERS + 10 and shown.count("\n") < MAX_LINES)
    assert not steering(shown or "")


@given(text=st.text(st.characters(), max_size=300), limit=st.integers(1, 300))
def test_one_line_is_one_short_line(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert "=?" not in line
    assert not steering(line, allowed="")


@each("text", hostile_values.ALL.values())
def test_what_is_hostile_is_short_and_harmless_in_a_mail(text: str) -> None:
    body = text.encode(errors="surrogatepass")
    for shown in (excerpt(body), excerpt(b"<p>" + body + b"</p>"), one_line(text)):
        assert shown is not None
        assert not steering(shown)
        assert len(shown) < MAX_CHARACTERS + 10
    assert "=?" not in one_line(text)
    assert len(one_line(text).splitlines()) <= 1
