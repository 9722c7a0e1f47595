"""What anybody may send as cookies costs little, and only those that these pages set mean something."""

import http.client
import http.cookies
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from dispatcher.console.cookies import MAX_BYTES
from dispatcher.console.kinds import Kind
from tests.integration.console.conftest import People

QUOTED = '"' + '\\"' * 2_000 + '"'
PATHS = ["/healthz", "/v1/webhooks", "/nowhere", "/sinch/x", "/console/login", "/portal/overview"]


def test_no_request_has_its_cookies_unquoted(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unquoting is quadratic on some Pythons, and the framework would do it before any key is asked for."""
    unquoted: list[str] = []
    unquote: Callable[[str], str] = http.cookies._unquote  # type: ignore[attr-defined]
    monkeypatch.setattr(http.cookies, "_unquote", lambda value: unquoted.append(value) or unquote(value))
    answers = {path: status(people, path, f"portal={QUOTED}") for path in PATHS}
    assert unquoted == []
    assert answers == dict(zip(PATHS, (200, 401, 404, 404, 200, 303), strict=True))


@pytest.mark.parametrize("kind", Kind)
def test_more_cookies_than_may_be_are_refused_in_words_and_all_headers_count(people: People, kind: Kind) -> None:
    browser = people.operator() if kind is Kind.CONSOLE else people.customer()
    own = f"{kind}={browser.cookies[kind]}"
    rest = "x" * (MAX_BYTES - len(own) - len("; x="))
    for others, expected in ((f"x={rest}", 200), (f"x={rest}x", 400)):
        assert status(people, f"/{kind}/overview", own, others) == expected
    refused = people.stranger(kind).get("/overview", Cookie=f"x={rest * 2}")
    assert (refused.status_code, "more than 16384 bytes of cookies" in refused.text) == (400, True)


def test_where_none_are_read_any_number_may_be_sent(people: People) -> None:
    assert status(people, "/healthz", "x" * 60_000) == 200


def test_a_cookie_in_quotes_is_none_of_ours(people: People) -> None:
    secret = people.customer().cookies["portal"]
    given = (f"portal={secret}", f' a; portal = {secret} ;b="c"', f'portal="{secret}"', f'portal={secret}; portal="x"')
    assert [status(people, "/portal/overview", cookie) for cookie in given] == [200, 200, 303, 200]


def status(people: People, path: str, *cookies: str) -> int:
    """Of the answer to a request with these headers of cookies."""
    connection = http.client.HTTPConnection(urlsplit(people.origin).netloc, timeout=30)
    connection.putrequest("GET", path)
    for cookie in cookies:
        connection.putheader("Cookie", cookie)
    connection.endheaders()
    try:
        return connection.getresponse().status
    finally:
        connection.close()
