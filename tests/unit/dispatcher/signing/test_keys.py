"""Signing keys: their forms, and what a rotation leaves."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import InvalidWebhook
from dispatcher.signing import keys as signing_keys
from dispatcher.signing.keys import (
    MAX_KEYS,
    KeyKind,
    SigningKey,
    check_signing_key,
    generate_signing_key,
    read_signing_keys,
    rotate,
    write_signing_keys,
)
from tests.each import each

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize("kind", KeyKind)
def test_a_new_key_has_its_form_and_256_random_bits(kind: KeyKind) -> None:
    first, second = generate_signing_key(kind), generate_signing_key(kind)
    assert first.secret != second.secret
    assert (first.kind, len(first.key)) == (kind, 32)
    assert check_signing_key(first.secret) == first
    assert first.secret not in repr(first)


@given(st.binary(min_size=24, max_size=64))
def test_a_secret_is_taken_with_or_without_padding(raw: bytes) -> None:
    padded = base64.b64encode(raw).decode()
    assert check_signing_key("whsec_" + padded.rstrip("=")) == check_signing_key("whsec_" + padded)
    assert check_signing_key("whsec_" + padded).key == raw


HALF = base64.b64encode(bytes(32)).decode()
MISMATCHED = base64.b64encode(bytes(64)).decode()


@each(
    "text",
    [
        "",
        "planted",
        "whsec_",
        "whsec_planted!!",
        "whsec_" + base64.b64encode(b"planted" * 3).decode(),
        "whsec_" + base64.b64encode(b"planted" * 10).decode(),
        "whsec_" + HALF[:-1] + "\n",
        "whpk_" + HALF,
        "whsk_" + HALF,
        "whsk_" + MISMATCHED,
        "WHSEC_" + HALF,
        "whsec_ä" + HALF,
    ],
)
def test_what_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidWebhook, match=r"^signing_keys must ") as refused:
        check_signing_key(text)
    assert "planted" not in str(refused.value)


def test_a_rotation_puts_the_new_key_in_front_and_lets_the_others_end() -> None:
    first, second, third = (generate_signing_key() for _ in range(3))
    keys = rotate([first], second, overlap=DAY, now=NOW)
    assert keys == [second, SigningKey(first.secret, NOW + DAY)]
    # An overlap never prolongs an earlier one.
    keys = rotate(keys, third, overlap=10 * DAY, now=NOW + DAY / 2)
    assert [key.until for key in keys] == [None, NOW + 10.5 * DAY, NOW + DAY]
    assert rotate(keys, first, overlap=DAY, now=NOW + 2 * DAY)[0] == first


def test_without_overlap_only_the_new_key_is_left() -> None:
    old, new = generate_signing_key(), generate_signing_key()
    assert rotate([old], new, overlap=timedelta(0), now=NOW) == [new]
    assert rotate([], new, overlap=DAY, now=NOW) == [new]


def test_keys_that_have_ended_are_forgotten() -> None:
    ended = SigningKey(generate_signing_key().secret, NOW)
    current, new = generate_signing_key(), generate_signing_key()
    assert ended not in rotate([current, ended], new, overlap=DAY, now=NOW)


def test_so_many_keys_sign_at_once_and_no_more() -> None:
    keys: list[SigningKey] = []
    for _ in range(MAX_KEYS):
        keys = rotate(keys, generate_signing_key(), overlap=DAY, now=NOW)
    assert len(keys) == MAX_KEYS
    with pytest.raises(InvalidWebhook, match="at once"):
        rotate(keys, generate_signing_key(), overlap=DAY, now=NOW)
    assert len(rotate(keys, generate_signing_key(), overlap=timedelta(0), now=NOW)) == 1


@pytest.mark.parametrize("overlap", [-timedelta(seconds=1), timedelta(days=31)])
def test_an_overlap_out_of_range_is_refused(overlap: timedelta) -> None:
    with pytest.raises(InvalidWebhook, match=r"^overlap "):
        rotate([], generate_signing_key(), overlap=overlap, now=NOW)


def test_keys_come_out_of_their_document_as_they_went_in() -> None:
    keys = tuple(rotate([generate_signing_key()], generate_signing_key(KeyKind.ED25519), overlap=DAY, now=NOW))
    assert read_signing_keys(write_signing_keys(keys)) == keys


def test_stored_keys_are_read_without_working_out_their_public_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers read them while deliveries wait."""
    stored = write_signing_keys([generate_signing_key(KeyKind.ED25519)])
    monkeypatch.setattr(signing_keys, "_public_half", lambda _: pytest.fail("worked out"))
    assert write_signing_keys(read_signing_keys(stored)) == stored
    with pytest.raises(InvalidWebhook, match="64 bytes"):
        read_signing_keys([{"secret": stored[0]["secret"][:-8]}])
