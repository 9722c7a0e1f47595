"""Secrets that an answer repeats: what is taken out, and what stays as it is."""

import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.masking.answers import MIN_CHARACTERS, redacted, secret_forms
from dispatcher.masking.forms import Form
from dispatcher.masking.messages import spellings
from workers.callbacks.targets import _texts

SECRET = 's3cr3t & "fünf" /ways/'


@pytest.mark.parametrize(
    "repeated",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        html.escape(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(SECRET).replace("/", "\\/"),
    ],
)
@pytest.mark.parametrize("known_as", [SECRET, quote(SECRET, safe="/"), quote(SECRET, safe="")])
def test_a_secret_is_found_however_it_is_written(repeated: str, known_as: str) -> None:
    answer = f"you called /hook?key={repeated}&x=1".encode()
    clean = redacted(answer, secret_forms([known_as]), 4096)
    assert clean.replace(b'"', b"") == b"you called /hook?key=***&x=1"


@given(
    st.text(alphabet=st.characters(categories=None)), st.sampled_from([quote, quote_plus]), st.sampled_from(["", "/"])
)
def test_a_text_is_sought_as_percent_encoded_by_a_library(value: str, encode: Callable[..., str], safe: str) -> None:
    assert encode(value, safe=safe, errors="replace") in spellings([value], 0)


def test_every_text_among_a_webhooks_secrets_counts_as_one() -> None:
    assert list(_texts({"basic": {"password": "a"}, "keys": ["b", {"c": "d"}], "seconds": 1})) == ["a", "b", "d"]


def test_short_values_are_left_for_they_stand_in_many_an_answer() -> None:
    assert secret_forms(["", "1", "x" * (MIN_CHARACTERS - 1)]) == ()
    assert redacted(b"1 of 1", (), 100) == b"1 of 1"


def test_the_longest_is_taken_first() -> None:
    assert redacted(b"abcdefghi abcdef", [Form.of(b"abcdef"), Form.of(b"abcdefghi")], 100) == b"*** ***"


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    assert redacted(b"\0\xff abcdef \xfe", secret_forms(["abcdef"]), 100) == b"\0\xff *** \xfe"


@pytest.mark.parametrize("before", range(90, 101))
def test_of_a_secret_on_the_edge_nothing_is_kept(before: int) -> None:
    answer = b"." * before + b"0123456789" * 200
    kept = redacted(answer, secret_forms(["0123456789" * 20]), 100)
    assert kept == (b"." * before + b"***" if before < 100 else b"." * 100)


@given(
    st.lists(st.binary(min_size=MIN_CHARACTERS, max_size=12), max_size=3),
    st.lists(st.binary(max_size=30), max_size=5),
    st.integers(0, 120),
)
def test_what_is_kept_is_the_beginning_without_any_secret(secrets: list[bytes], parts: list[bytes], kept: int) -> None:
    answer = b"".join(part + secret for part, secret in zip(parts, [*secrets, b"", b"", b"", b"", b""], strict=False))
    clean = redacted(answer, [Form.of(secret) for secret in secrets], kept)
    assert len(clean) <= kept + len(b"**")  # a mask can be longer than what was left of the place
    assert not any(secret in piece for piece in clean.split(b"***") for secret in secrets)
    if not any(secret in answer for secret in secrets):
        assert clean == answer[:kept]
