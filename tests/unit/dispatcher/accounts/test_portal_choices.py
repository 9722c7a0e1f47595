"""What may be chosen for a link to the portal: nothing that leads elsewhere."""

from typing import Any

import pytest

from dispatcher.accounts.portal_choices import PortalChoices, PortalScope, check_choices
from dispatcher.errors import InvalidLink
from tests.each import each

APP = "https://app.example.com"


def refused_field(**chosen: Any) -> str | None:
    """The field that is refused, if one is."""
    choices = PortalChoices(**{"scopes": [PortalScope.READ], **chosen})
    try:
        check_choices(choices, ancestors=[APP], return_origins=[APP, "https://www.example.com:8443"])
    except InvalidLink as refused:
        return refused.field
    return None


@pytest.mark.parametrize("path", ["", "/webhooks", "/webhooks/0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00", "/a/.b/c..d"])
def test_a_session_begins_with_a_page_of_the_portal(path: str) -> None:
    assert refused_field(path=path) is None


@each(
    "path",
    [
        *("webhooks", "/", "//evil.example", "/a//b", "https://evil.example", "/a/", "/a?b", "/a#b", "/a b", "/a\n"),
        *("/..", "/.", "/a/../b", "/webhooks/..", "/a\\b", "/%2e%2e/console", "/ä", "/" + "a" * 255),
    ],
)
def test_it_begins_nowhere_else(path: str) -> None:
    assert refused_field(path=path) == "path"


@pytest.mark.parametrize(
    "url", [APP, f"{APP}/", f"{APP}/a?b#c", f"{APP}:443/", "HTTPS://APP.example.com/x", "https://www.example.com:8443/"]
)
def test_the_portal_leads_back_to_the_origins_that_are_allowed(url: str) -> None:
    assert refused_field(return_url=url) is None


@each(
    "url",
    [
        *("", "/", "//app.example.com/", "http://app.example.com/", f"{APP}:8443/", "https://www.example.com/"),
        *(f"{APP}.evil.example/", f"{APP}@evil.example/", f"{APP}\\@evil.example/", f"{APP};evil", f" {APP}"),
        *("javascript:alert(1)", f"javascript:alert(1)//{APP}", f"{APP}/\n", f"{APP}/a b", f"{APP}/{'a' * 2048}"),
    ],
)
def test_it_leads_nowhere_else(url: str) -> None:
    assert refused_field(return_url=url) == "return_url"


def test_only_a_page_of_an_origin_that_is_allowed_shows_it_in_a_frame() -> None:
    assert refused_field(embed_origin=APP) is None
    for other in (f"{APP}/", "https://app.example.com:443", "https://evil.example", "*", "null", ""):
        assert refused_field(embed_origin=other) == "embed_origin", other


def test_who_may_not_look_may_do_nothing() -> None:
    assert refused_field(scopes=[]) == "scopes"
    assert refused_field(scopes=[PortalScope.MANAGE, PortalScope.SECRETS]) == "scopes"


def test_times_and_the_user_have_bounds() -> None:
    assert refused_field(expires_in=3600, session_seconds=86_400, user="u" * 255) is None
    assert refused_field(expires_in=1, session_seconds=60, user="ä") is None
    for seconds in (0, -1, 3601):
        assert refused_field(expires_in=seconds) == "expires_in"
    for seconds in (59, 86_401):
        assert refused_field(session_seconds=seconds) == "session_seconds"
    for user in ("", "u" * 256, "a\nb", "a\u202eb"):
        assert refused_field(user=user) == "user"
