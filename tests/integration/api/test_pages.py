"""`/` and `/docs`: pages that need no key, no script and no other host, and tell nothing of the installation."""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest
import requests
from pydantic import SecretStr

from dispatcher.asgi import DIALECTS, create_app
from dispatcher.settings import Settings
from dispatcher.version import __version__
from tests.api_document import DOCUMENT
from tests.integration.api.conftest import Api, Running, running_app

PAGES = ("/", "/docs")
# What would load, run or style something from within a page.
ACTIVE = {"script", "style", "iframe", "object", "embed", "form", "img", "base", "svg", "meta http-equiv"}


class Seen(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attributes]

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for attribute, value in self.attributes if attribute == name]


@pytest.fixture
def pages(running: Running) -> Api:
    """The API as it is without database, broker and settings."""
    return Api(running.origin)


@pytest.mark.parametrize("path", [*PAGES, "/docs/style.css"])
def test_a_page_is_served_to_anybody_under_a_strict_policy(pages: Api, path: str) -> None:
    answer = pages.get(path)
    assert answer.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy.pop("style-src") == "'self'"
    assert set(policy) == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert set(policy.values()) == {"'none'"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_nothing_and_loads_its_own_style_sheet_alone(pages: Api, path: str) -> None:
    answer = pages.get(path)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    seen = Seen(answer.text)
    assert seen.tags & ACTIVE == set()
    assert [name for name, _ in seen.attributes if name.startswith("on") or name in {"style", "src", "srcset"}] == []
    # Relative, so that they are right behind a proxy with a path of its own.
    assert [link for link in seen.values("href") if ":" in link or link.startswith("/")] == []
    assert [link for link in seen.values("href") if link.endswith(".css")] == ["docs/style.css"]
    style = pages.get("/docs/style.css")
    assert style.headers["Content-Type"] == "text/css; charset=utf-8"
    assert "url(" not in style.text
    assert "@import" not in style.text


@pytest.mark.parametrize("path", PAGES)
def test_each_link_of_a_page_leads_somewhere(pages: Api, path: str) -> None:
    seen = Seen(pages.get(path).text)
    ids = seen.values("id")
    assert len(ids) == len(set(ids))
    links = set(seen.values("href"))
    assert {link for link in links if link.startswith("#")} <= {f"#{identifier}" for identifier in ids}
    for link in links:
        if not link.startswith("#"):
            assert requests.get(urljoin(pages.origin + path, link), timeout=30).status_code in {200, 503}, link


def test_the_first_page_is_a_few_lines_of_html_and_for_programs_json(pages: Api) -> None:
    page = pages.get("/")
    assert {"docs", "openapi.json", "healthz", "readyz"} < set(Seen(page.text).values("href"))
    assert f"dispatcher {__version__}" in Seen(page.text).text
    assert (len(page.text.splitlines()) < 30, max(map(len, page.text.splitlines())) <= 120) == (True, True)
    browsers = "text/html,application/xhtml+xml,application/xml;q=0.9,application/json;q=0.8,*/*;q=0.7"
    assert pages.get("/", headers={"Accept": browsers}).text == page.text
    answer = pages.get("/", headers={"Accept": "application/json"})
    assert answer.json() == {
        "name": "dispatcher",
        "version": __version__,
        "links": {"documentation": "/docs", "openapi": "/openapi.json", "alive": "/healthz", "ready": "/readyz"},
    }
    assert {page.headers["Vary"], answer.headers["Vary"]} == {"Accept"}
    for link in answer.json()["links"].values():
        assert pages.get(link).status_code in {200, 503}


def test_the_documentation_has_each_operation_with_scope_and_examples(pages: Api) -> None:
    text = pages.get("/docs").text
    shown = Seen(text)
    assert {operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()} < set(
        shown.values("id")
    )
    plain = re.sub(r"\s+", " ", shown.text)
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            article = text.partition(f'<article id="{operation["operationId"]}">')[2].partition("</article>")[0]
            scopes = [scope for way in operation.get("security", [])[:1] for scope in way.get("Bearer", [])]
            for said in (f">{method.upper()}<", f"<code>{path}</code>", *(f"<code>{scope}</code>" for scope in scopes)):
                assert said in article, (operation["operationId"], said)
            assert operation["summary"].replace("`", "") in plain
            assert article.count('<b class="status') == len(operation["responses"])
    assert '"nearest_types": [' in plain


def test_nothing_of_the_settings_is_on_a_page(pages: Api, settings: Settings) -> None:
    text = "".join(pages.get(path).text for path in PAGES)
    secrets = [
        value.get_secret_value() for value in dict(settings).values() if isinstance(value, SecretStr) and len(value) > 3
    ]
    assert len(secrets) >= 3
    assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize("path", [*PAGES, "/docs/style.css"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_page_can_only_be_read(pages: Api, path: str, method: str) -> None:
    answer = pages.call(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize("prefix", DIALECTS)
def test_dialects_keep_their_own_roots(pages: Api, prefix: str) -> None:
    for path in (f"{prefix}/", f"{prefix}/docs"):
        answer = pages.get(path)
        assert answer.status_code >= 400
        assert "Content-Security-Policy" not in answer.headers


def test_what_a_document_says_is_text_on_the_page() -> None:
    other = create_app()
    other.openapi()["info"]["description"] = "<script>alert(1)</script> `<b onclick=x>`"
    with running_app(other) as origin:
        seen = Seen(Api(origin).get("/docs").text)
    assert "script" not in seen.tags
    assert "<script>alert(1)</script> <b onclick=x>" in seen.text
