"""Values are found in the forms in which programs write them, alone and one inside another."""

import base64
import html
import json
from collections.abc import Callable
from html.entities import codepoint2name
from itertools import pairwise
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.masking import answers
from dispatcher.masking import forms as searching
from dispatcher.masking.answers import MIN_CHARACTERS, MOST_SPELLINGS, _unquoted, redacted, secret_forms
from dispatcher.masking.forms import MOST_WORK, READ, SOUGHT, Form, forms, found


def each(write: Callable[[str], str]) -> Callable[[str], str]:
    """Writes each character by itself."""
    return lambda text: "".join(map(write, text))


def _percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def _units(character: str) -> list[int]:
    data = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)]


# A text, written as a text again. A program that reads it gets the first one.
IN_TEXT: dict[str, Callable[[str], str]] = {
    "percent": lambda text: quote(text, safe=""),
    "percent, but slashes": quote,
    "percent in lower case": lambda text: quote(text, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "percent, every byte": _percent,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON of PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, every character": each(lambda one: "".join(f"\\u{unit:04x}" for unit in _units(one))),
    "JSON, every character in upper case": each(lambda one: "".join(f"\\u{unit:04X}" for unit in _units(one))),
    "HTML": html.escape,
    "HTML of PHP": lambda text: html.escape(text).replace("&#x27;", "&#039;"),
    "HTML, quotes by number": lambda text: text.replace("&", "&#38;").replace('"', "&#34;").replace("<", "&#60;"),
    "HTML, every name": each(lambda one: f"&{codepoint2name[ord(one)]};" if ord(one) in codepoint2name else one),
    "HTML, every number": each(lambda one: f"&#{ord(one)};"),
    "HTML, every number in hexadecimal": each(lambda one: f"&#x{ord(one):X};"),
}
# A text, written as bytes.
AS_BYTES: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "Latin-1": lambda text: text.encode("latin-1", "xmlcharrefreplace"),
    "percent of Latin-1": lambda text: quote(text.encode("latin-1", "xmlcharrefreplace"), safe="&#;").encode(),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "hexadecimal in upper case": lambda text: text.encode().hex().upper().encode(),
}
SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=MIN_CHARACTERS, max_size=30)
SURROUNDED = st.binary(max_size=5)
ONE = 's3cr3t+ & "fünf" €/ways\'<\\ \U0001f511%41'


@given(SECRETS, st.lists(st.sampled_from(sorted(IN_TEXT)), max_size=3), st.sampled_from(["UTF-8", "Latin-1"]))
@example(ONE, ["JSON of PHP", "HTML of PHP"], "UTF-8")
@example("&amp;&amp;", ["HTML"], "UTF-8")
@example("%25252525", ["percent"], "UTF-8")
def test_a_secret_is_found_in_any_form_and_in_one_inside_another(secret: str, inside: list[str], as_bytes: str) -> None:
    written = secret
    for name in inside:
        written = IN_TEXT[name](written)
    answer = b"<got " + AS_BYTES[as_bytes](written) + b"!>"
    assert redacted(answer, secret_forms([secret]), 100_000) == b"<got ***!>"


@given(SECRETS, st.sampled_from(sorted(AS_BYTES)))
@example(ONE, "percent of Latin-1")
def test_so_is_one_in_the_bytes_of_another_encoding(secret: str, name: str) -> None:
    answer = b"<got " + AS_BYTES[name](secret) + b"!>"
    assert redacted(answer, secret_forms([secret]), 100_000) == b"<got ***!>"


@given(SECRETS, st.lists(st.sampled_from(sorted(IN_TEXT)), min_size=30, max_size=30))
def test_each_character_may_have_a_form_of_its_own(secret: str, names: list[str]) -> None:
    written = "".join(IN_TEXT[name](one) for one, name in zip(secret, names, strict=False))
    assert redacted(f"<{written}>".encode(), secret_forms([secret]), 100_000) == b"<***>"


@given(SECRETS, SURROUNDED, SURROUNDED, st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
@example(ONE, b"user:", b"", base64.b64encode)
@pytest.mark.parametrize("written_as", ["as it is", "percent", "JSON of PHP"])
def test_base64_of_something_with_a_secret_in_it_does_not_give_it_away(
    written_as: str, secret: str, before: bytes, after: bytes, encode: Callable[[bytes], bytes]
) -> None:
    coded = encode(before + secret.encode() + after).decode()
    answer = b'{"auth": "Basic ' + IN_TEXT.get(written_as, str)(coded).encode() + b'"}'
    clean = redacted(answer, secret_forms([secret]), 100_000)
    assert clean.startswith(b'{"auth": "Basic ')
    assert clean.endswith(b'"}')
    around = clean.removeprefix(b'{"auth": "Basic ').removesuffix(b'"}').decode()
    left, _, right = unquote(around.replace("\\/", "/")).partition("***")
    # What is left belongs to what surrounds it; of the secret itself, six bits at most at each end.
    assert 6 * len(left) <= 8 * len(before) + 6
    assert 6 * len(right.rstrip("=")) <= 8 * len(after) + 6 + 4


@given(st.binary(max_size=60), SECRETS)
def test_what_holds_no_secret_stays_as_it_is(answer: bytes, secret: str) -> None:
    sought = secret_forms([secret])
    if not found(answer, sought):
        assert redacted(answer, sought, 1000) == answer


@given(st.lists(st.sampled_from([b"%", b"25", b"\\", b"u00", b"2b", b"&#", b"amp;", b"&", b";", b"x"]), max_size=40))
def test_every_place_that_is_found_is_in_the_text(parts: list[bytes]) -> None:
    text = b"".join(parts)
    places = found(text, [Form.of(each) for each in (b"%", b"&", b"\\", b"+", b"x")])
    assert places == sorted(places)
    assert all(0 <= begin < end <= len(text) for begin, end in places)
    assert all(first[1] <= second[0] for first, second in pairwise(places))


def test_a_secret_in_a_long_form_that_crosses_the_end_of_what_is_kept_is_removed_as_a_whole() -> None:
    answer = b"." * 95 + IN_TEXT["HTML, every number"]("secret-1234").encode() + b"." * 100
    assert redacted(answer, secret_forms(["secret-1234"]), 100) == b"." * 95 + b"***"


def test_of_an_answer_that_repeats_secrets_without_end_nothing_is_kept() -> None:
    sought = secret_forms(["secret-1234"])
    assert redacted(b"secret-1234 " * 50, sought, 4096) == b"*** " * 50
    assert redacted(b"x secret%2D1234 " * 51, sought, 4096) == b"***"


LONG = "".join(f"part{number:02}-" for number in range(100))


@pytest.mark.parametrize("name", ["percent", "JSON of PHP", "HTML, every number"])
def test_a_long_secret_is_removed_as_a_whole_also_if_only_its_end_is_in_another_form(name: str) -> None:
    written = LONG[:100] + IN_TEXT[name](LONG[100:])
    for text in (LONG, written, IN_TEXT[name](written)):
        assert redacted(f"<{text}>".encode(), secret_forms([LONG, LONG[:40] + "X"]), 100_000) == b"<***>"


def test_of_a_long_secret_little_is_remembered_and_little_is_read_for_it() -> None:
    sought = secret_forms([LONG]) or ()
    assert {len(form.begin) for form in sought} == {SOUGHT}
    read: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_places", lambda text, sought: read.append(len(text)) or [])
        redacted(b"." * 100_000, sought, 4096)
    assert sum(read) < 4096 + 10 * SOUGHT


def test_the_forms_of_a_long_secret_are_made_of_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each webhook of a claim has its own, and meanwhile its worker delivers nothing."""
    read: list[int] = []
    for module, name in ((searching, "b64encode"), (answers, "without_percent")):
        whole = getattr(module, name)
        monkeypatch.setattr(module, name, lambda data, whole=whole: read.append(len(data)) or whole(data))
    sought = secret_forms(["%41+" * 1000]) or ()
    assert {form.begin for form in sought} >= {b"A " * 16, b"A+" * 16}
    assert max(read) <= READ + 2
    assert len(read) == 3 * 3 + 2  # of three spellings in Base64; decoded


@given(
    SECRETS,
    st.sampled_from(["", "%", "+", "%41", "€", "é"]),
    st.sampled_from(sorted(AS_BYTES.keys() - {"percent of Latin-1"})),
    st.binary(max_size=3),
)
@settings(max_examples=20)
@example("00\xa0\xa0\xa0\xa0", "", "Latin-1", b"")
def test_a_secret_of_any_length_is_hidden_to_its_end(secret: str, odd: str, name: str, before: bytes) -> None:
    secret = (secret + odd) * 25
    quoted = (quote(secret), quote_plus(secret)) if "%" not in secret else ()  # `%41` in an answer is taken for an A
    for known_as in (secret, *quoted):
        sought = secret_forms([known_as])
        for written in (AS_BYTES[name](secret), base64.b64encode(before + secret.encode())):
            assert len(redacted(b"<" + written, sought, 100_000)) <= len("<***") + 10


def test_a_webhook_of_very_many_secrets_has_no_answer_kept_and_no_forms_made(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    many = (asked.append(each) or each for each in map("secret-{:04}".format, range(10_000)))
    monkeypatch.setattr(searching, "b64encode", lambda _: pytest.fail("a form was made"))
    assert secret_forms(many) is None
    assert len(asked) == MOST_SPELLINGS + 1
    assert (redacted(b"no secret", None, 100), redacted(b"", None, 100)) == (b"***", b"")


def test_many_short_or_equal_secrets_are_not_too_many() -> None:
    sought = secret_forms([*(f"{each:04}" for each in range(1000)), *["secret-1234"] * 1000])
    assert redacted(b"0123 secret-1234", sought, 100) == b"0123 ***"


@given(
    st.lists(
        st.sampled_from(["%41", "%2b", "%25", "%0D", "\r\n", "=", "%3D", "+", "é", "€", "%C3%A9", "%zz", "%", "_"])
    )
)
def test_a_secret_is_decoded_as_the_standard_library_does(parts: list[str]) -> None:
    assert _unquoted("".join(parts)) == unquote("".join(parts))


NESTED = b"%25252541 &amp;amp;amp;lt; \\\\\\\\u0041 "


@pytest.mark.parametrize("number", [1, 20, 200, 2000])
@pytest.mark.parametrize("text", [b"." * 65_536, NESTED * 1500, NESTED + b"." * 65_000])
def test_a_customer_of_many_secrets_and_a_receiver_of_long_answers_do_not_have_them_compared_without_end(
    number: int, text: bytes
) -> None:
    sought = forms((f"secret-{place:04}" for place in range(number)), MIN_CHARACTERS)
    work, places = [], searching._places
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_places", lambda *args: work.append(len(args[0]) * len(args[1])) or places(*args))
        clean = redacted(text, sought, 4096)
    assert sum(work) <= MOST_WORK
    assert clean in (text[:4096], b"***")
    assert number > 20 or clean != b"***" or text.startswith(NESTED)  # what is honest is kept


def test_short_words_are_not_taken_for_a_short_value_in_base64() -> None:
    assert found(b"MTU0 MTU0M of TU0M", forms(["1543"], 4)) == []
    assert found(b"MTU0MzIx", forms(["154321"], 4)) == [(0, 8)]


def test_quote_plus_writes_a_space_as_a_plus_sign() -> None:
    assert redacted(quote_plus("a secret & more").encode(), secret_forms(["a secret & more"]), 100) == b"***"
