"""Pages for what does not work: they say what to do next, and the id to ask with; and nothing of what failed inside."""

import re

import pytest

from dispatcher.console.kinds import Kind
from dispatcher.console.pages import webhooks
from tests.integration.api.conftest import Restarted
from tests.integration.console.conftest import People

DEAD = "postgresql://user:s3cr3t-password@127.0.0.1:1/nowhere"


def test_while_the_database_is_away_a_page_says_that_nothing_is_lost(
    people: People, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    browser = people.operator()
    monkeypatch.setenv("DATABASE_URL", DEAD)
    restarted()
    answer = browser.get("/webhooks")
    assert (answer.status_code, "Nothing is lost" in answer.text) == (503, True)
    assert answer.headers["Retry-After"] == "5"
    assert "s3cr3t" not in answer.text
    assert answer.headers["X-Request-Id"] in answer.text


def test_a_defect_shows_nothing_but_its_id(
    people: People, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("planted-in-an-exception")

    monkeypatch.setattr(webhooks, "state_of", fail)
    browser = people.customer()
    webhook = browser.post("/look")  # a form that needs nothing still works
    assert webhook.status_code == 303
    monkeypatch.setattr(webhooks.Webhooks, "page", fail)
    answer = browser.get("/webhooks")
    assert (answer.status_code, "Something went wrong" in answer.text) == (500, True)
    assert answer.headers["X-Request-Id"] in answer.text
    assert "planted" not in answer.text + caplog.text
    assert answer.headers["X-Request-Id"] in caplog.text


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    "path", ["/nowhere", "/webhooks/x", "/webhooks/0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00", "/a%0ab"]
)
def test_what_is_not_there_has_a_page_that_leads_back(people: People, kind: Kind, path: str) -> None:
    browser = people.operator() if kind is Kind.CONSOLE else people.customer()
    answer = browser.get(path)
    assert answer.status_code == 404
    assert re.search(rf'<a class="button first" href="/{kind}/">', answer.text)
    assert answer.headers["X-Request-Id"] in answer.text


def test_a_method_that_a_page_does_not_have_is_told_as_any_error(people: People) -> None:
    answer = people.operator().post("/webhooks")
    assert (answer.status_code, "This cannot be done" in answer.text) == (405, True)


def test_a_link_with_a_theme_shows_pages_in_it_until_another_is_chosen(people: People) -> None:
    link = people.link(Kind.PORTAL, "acme", theme="dark")
    browser = people.stranger(Kind.PORTAL)
    browser.post("/enter", {"link": f"#{link.id}.{link.secret}"})
    assert 'data-theme="dark"' in browser.get("/webhooks").text
    browser.post("/look", {"theme": "light", "zone": "local", "next": "/"})
    assert 'data-theme="light"' in browser.get("/webhooks").text
