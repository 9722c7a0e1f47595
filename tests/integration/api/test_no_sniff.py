"""Answers can repeat what others wrote; no browser is to take one for anything but what it says it is.
test_every_answer.py walks all routes."""

import socket
from urllib.parse import urlsplit

import pytest
import requests

from tests.integration.api.conftest import Api


def is_not_sniffed(answer: requests.Response) -> bool:
    return answer.headers.get("X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/sinch/nowhere", 404), ("PUT", "/v1/webhooks", 405), ("GET", "/docs", 200)],
)
def test_so_does_what_no_route_answers(api: Api, method: str, path: str, status: int) -> None:
    answer = api.call(method, path)
    assert (answer.status_code, is_not_sniffed(answer)) == (status, True)


def test_so_does_the_answer_to_a_defect(api: Api, manager: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("dispatcher.webhooks.store.Webhooks.read")
    answer = api.call("GET", "/v1/webhooks/0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00", token=manager)
    assert (answer.status_code, is_not_sniffed(answer)) == (500, True)


@pytest.mark.parametrize(
    "request_", [b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000], ids=["no HTTP", "long"]
)
def test_so_does_the_answer_to_what_is_no_request(api: Api, request_: bytes) -> None:
    place = urlsplit(api.origin)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(request_)
        with connection.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nx-content-type-options: nosniff" in head
    assert b"\r\ncontent-length: %d\r\n" % len(body) in head
    assert body
