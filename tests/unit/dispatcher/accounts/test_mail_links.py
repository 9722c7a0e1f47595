"""A link in a mail is for one purpose and one recipient, and cannot be made or changed by others."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.accounts.access_tokens import TokenMint
from dispatcher.accounts.mail_links import Link, LinksOfMail, MailLinks, Purpose

SECRET = b"0123456789abcdef0123456789abcdef"
LINKS, RECIPIENT, UNTIL = MailLinks(SECRET), UUID(int=7), datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_link_says_what_it_was_made_for(purpose: Purpose) -> None:
    assert LINKS.read(LINKS.token(purpose, RECIPIENT, UNTIL)) == Link(purpose, RECIPIENT, UNTIL)


def test_a_link_with_any_part_of_another_is_none() -> None:
    token = LINKS.token(Purpose.UNSUBSCRIBE, RECIPIENT, UNTIL)
    purpose, recipient, until, digest = token.split(".")
    for changed in (
        f"confirm.{recipient}.{until}.{digest}",
        f"{purpose}.{UUID(int=8).hex}.{until}.{digest}",
        f"{purpose}.{recipient}.{int(until) + 1}.{digest}",
        f"{purpose}.{recipient}.{until}.{digest[:-1]}",
        f"{purpose}.{recipient}.{until}.",
        f"{purpose}.{recipient}.{until}",
        token.upper(),
    ):
        assert LINKS.read(changed) is None


def test_a_link_of_another_installation_is_none() -> None:
    assert LINKS.read(MailLinks(SECRET[::-1]).token(Purpose.CONFIRM, RECIPIENT, UNTIL)) is None


def test_what_the_secret_makes_elsewhere_is_no_link() -> None:
    assert LINKS.read(TokenMint(SECRET).access_token(RECIPIENT, UNTIL)) is None
    assert TokenMint(SECRET).read(LINKS.token(Purpose.CONFIRM, RECIPIENT, UNTIL)) is None


@given(st.text(st.characters()))
def test_any_other_text_is_none(text: str) -> None:
    assert LINKS.read(text) is None


def test_a_mail_has_one_link_to_confirm_for_a_week_and_one_to_unsubscribe_for_three_months() -> None:
    made = LinksOfMail.made(LINKS, "https://hooks.example.com/api", RECIPIENT, UNTIL)
    for url, purpose, days in ((made.confirm, Purpose.CONFIRM, 7), (made.unsubscribe, Purpose.UNSUBSCRIBE, 90)):
        address, _, token = url.partition("?link=")
        assert address == "https://hooks.example.com/api/contact"
        assert LINKS.read(token) == Link(purpose, RECIPIENT, UNTIL + timedelta(days=days))
