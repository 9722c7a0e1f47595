"""What the form of a page may have, and where it is taken apart: it costs far more to check than to send."""

import threading
from typing import Any
from urllib.parse import parse_qsl

import pytest

from dispatcher.console import forms
from dispatcher.console.forms import MAX_LINES
from dispatcher.web import bodies
from dispatcher.web.middleware import MAX_PAGE_FORM_BYTES
from tests.integration.console.conftest import Browser, People

NEW = "/webhooks/new"
FIELDS = {"url": "https://receiver.test/", "event_types": "a"}


@pytest.fixture
def browser(people: People) -> Browser:
    return people.customer()


def test_a_form_of_more_than_64_kib_is_refused_in_words_and_not_taken_apart(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def parse(text: str, **how: Any) -> list[tuple[str, str]]:
        taken.append(len(text))
        return parse_qsl(text, **how)

    monkeypatch.setattr(forms, "parse_qsl", parse)
    longest = "x" * (MAX_PAGE_FORM_BYTES - len("reason="))
    path = "/webhooks/00000000-0000-0000-0000-000000000000/disable"
    assert browser.post(path, {"reason": longest}).status_code == 404
    refused = browser.post(path, {"reason": f"{longest}x"})
    assert (refused.status_code, "longer than the 65536 bytes allowed" in refused.text) == (413, True)
    assert taken == [MAX_PAGE_FORM_BYTES]


def test_it_has_a_thousand_lines_over_all_its_fields(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(bodies, "refusal", lambda part: told.append(part) or "is wrong")
    rest = MAX_LINES - len(FIELDS)
    lines = {"rules": "\r\n".join(["1=ok"] * (rest // 2)), "members": "\x1e" * (rest - rest // 2)}
    assert browser.post(NEW, FIELDS | lines).status_code == 422
    refused = browser.post(NEW, FIELDS | lines | {"name": "one more"})
    assert (refused.status_code, "more than 1000 lines" in refused.text) == (413, True)
    assert told == []


def test_whatever_a_form_makes_into_members_no_more_than_a_thousand_values_are_looked_at(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(bodies, "refusal", lambda part: told.append(part) or "is wrong")
    refused = browser.post(NEW, FIELDS | {"event_types": "a! " * 12_000})
    assert (refused.status_code, "more than 1000 values" in refused.text) == (422, True)
    assert told == []


def test_it_is_not_taken_apart_where_all_requests_are_served(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[str] = []

    def parse(text: str, **how: Any) -> list[tuple[str, str]]:
        where.append(threading.current_thread().name)
        return parse_qsl(text, **how)

    monkeypatch.setattr(forms, "parse_qsl", parse)
    assert browser.post(NEW, FIELDS | {"url": "no URL"}).status_code == 422
    assert [name.startswith("AnyIO worker thread") for name in where] == [True]
