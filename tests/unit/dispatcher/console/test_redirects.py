"""Where a page may send a browser."""

import pytest

from dispatcher.console.redirects import safe_path
from tests.each import each


@pytest.mark.parametrize(
    "path", ["/", "/webhooks", "/webhooks/0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00/edit", "/events?type=a.b&subject=1+2"]
)
def test_the_pages_themselves_are_led_to(path: str) -> None:
    assert safe_path(path) == path


@each(
    "path",
    [
        None,
        "",
        "//evil.test",
        "///evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "https://evil.test/",
        "javascript:alert(1)",
        "/..//evil.test",
        "/../v1/events",
        "/./x",
        "/webhooks/..",
        "/webhooks//x",
        "/%2f%2fevil.test",
        "/\t/evil.test",
        "/x\r\nSet-Cookie: a=b",
        "/x#y",
        " /webhooks",
        "/ẃebhooks",
        "evil.test",
    ],
)
def test_anything_else_leads_to_the_start(path: str | None) -> None:
    assert safe_path(path) == "/"


def test_of_a_query_only_what_pages_know_is_kept() -> None:
    assert safe_path("/events?type=a&next=//evil.test&done=saved&subject=%0d%0aX") == "/events?type=a&subject=%0D%0AX"
    assert safe_path("/events?" + "type=a&" * 1000).startswith("/events?type=a")
