"""Tokens that stand for a key: what was made here is known again, all else is not."""

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.accounts.access_tokens import TokenClaims, TokenMint
from dispatcher.ids import new_id

MINT = TokenMint(b"a secret of the installation")
UNTIL = datetime(2030, 1, 1, tzinfo=UTC)


@given(st.uuids())
def test_what_was_made_here_is_known_again(key_id):  # type: ignore[no-untyped-def]
    assert MINT.read(MINT.access_token(key_id, UNTIL)) == TokenClaims(key_id, UNTIL)
    assert MINT.read(MINT.session(key_id)) == TokenClaims(key_id, None)


def test_a_session_looks_as_its_clients_know_it() -> None:
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9]+", MINT.session(new_id()))


@given(place=st.integers(0, 200), character=st.characters())
def test_a_token_that_was_changed_is_not_known(place: int, character: str) -> None:
    for token in (MINT.access_token(KEY, UNTIL), MINT.session(KEY)):
        changed = token[: place % len(token)] + character + token[place % len(token) + 1 :]
        assert changed == token or MINT.read(changed) is None


KEY = new_id()


def test_a_longer_life_or_another_key_is_not_had_by_writing_it_in() -> None:
    marker, key, until, digest = MINT.access_token(KEY, UNTIL).split(".")
    assert MINT.read(f"{marker}.{key}.{int(until) + 1}.{digest}") is None
    assert MINT.read(f"{marker}.{uuid4().hex}.{until}.{digest}") is None
    assert MINT.read(f"{MINT.session(KEY).partition(':')[0]}:{uuid4().int}") is None


def test_another_installations_tokens_are_not_known() -> None:
    other = TokenMint(b"another secret")
    assert MINT.read(other.access_token(KEY, UNTIL + timedelta(days=1))) is None
    assert MINT.read(other.session(KEY)) is None


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    for token in (text, f"at.{text}", f"at.{KEY.hex}.{text}", f"{KEY}:{text}", f"{text}:{KEY.int}"):
        assert MINT.read(token) is None
