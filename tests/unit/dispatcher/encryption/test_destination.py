"""Digests of hosts and ports: stored, so what makes them may not change."""

import pytest

from dispatcher.encryption.vault import destination

SECRET = b"k"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com/", 2868846716835072990),
        ("http://example.com/", -6636851753150058231),
        ("http://[::1]:8080/a?b", 4189559299503079880),
    ],
)
def test_a_destination_is_the_first_half_of_a_keyed_digest_as_a_signed_number(url: str, expected: int) -> None:
    assert destination(SECRET, url) == expected


def test_a_destination_is_of_host_and_port_alone() -> None:
    same = ["https://example.com/", "https://example.com:443/", "http://example.com:443/x?y", "https://example.com/?z"]
    assert len({destination(SECRET, url) for url in same}) == 1
    others = ["https://example.com:444/", "http://example.com/", "https://www.example.com/", "https://example.org/"]
    assert len({destination(SECRET, url) for url in [same[0], *others]}) == 5


def test_without_the_key_a_destination_cannot_be_found() -> None:
    assert destination(SECRET, "https://example.com/") != destination(b"l", "https://example.com/")
