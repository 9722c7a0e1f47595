"""URLs are taken apart in one place, and nothing unsafe passes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.transport.checks import Origin, Target, split_url
from tests.each import each


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a.example", Target(Origin("http", "a.example", 80), "a.example", "/")),
        ("HTTPS://A.Example/X?y=Z", Target(Origin("https", "a.example", 443), "a.example", "/X?y=Z")),
        ("http://a.example:80/", Target(Origin("http", "a.example", 80), "a.example", "/")),
        ("https://a.example:80?q", Target(Origin("https", "a.example", 80), "a.example:80", "/?q")),
        ("http://[::1]/", Target(Origin("http", "::1", 80), "[::1]", "/")),
        ("http://[2001:DB8::1]:8080/#f", Target(Origin("http", "2001:db8::1", 8080), "[2001:db8::1]:8080", "/")),
        ("http://127.0.0.1:1/@x", Target(Origin("http", "127.0.0.1", 1), "127.0.0.1:1", "/@x")),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target) -> None:
    assert split_url(url) == target


@each(
    "url",
    [
        "",
        "/x",
        "a.example/x",
        "ftp://a.example/",
        "http:/a.example",
        "http://",
        "http://:80/",
        "http://a.example:0/",
        "http://a.example:65536/",
        "http://u@a.example/",
        "http://u:p@a.example/",
        "http://a.example\\@b.example/",
        "http://a.example/ x",
        "http://a.example/\n",
        "http://a.example/\u00e9",
        "http://[::1/",
        "http://a b/",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^the URL "):
        split_url(url)


@given(
    st.text() | st.text().map(lambda text: "http://a.example/" + text) | st.text().map(lambda text: f"http://{text}/")
)
def test_no_url_puts_a_blank_or_a_line_end_on_the_wire(url: str) -> None:
    try:
        target = split_url(url)
    except ValueError:
        return
    for part in (target.host_header, target.path):
        assert part.isascii()
        assert part.isprintable()
        assert " " not in part
