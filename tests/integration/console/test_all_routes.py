"""What holds for every route of console and portal, read from their own route tables: a new page is included by itself.
What it needs for that: things for the parameters of its path, in `things_of`."""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
import requests
from fastapi.routing import APIRoute
from sqlalchemy import Engine
from starlette.routing import Route

from dispatcher.accounts.api_keys import Scope
from dispatcher.console.app import face, routers_of
from dispatcher.console.kinds import Kind
from dispatcher.console.mount import Face
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from tests.factories import rows
from tests.integration.api.conftest import Running
from tests.integration.console.conftest import Browser, People, Pseudo, Things, statements, things_of
from tests.receiver import Receiver

MOST_STATEMENTS, MOST_BYTES = 8, 30_000
OPEN = {"/login", "/enter", "/look"}  # nobody needs to be signed in for these
PROOF = {"/prove", "/logout"}  # about the session itself


@dataclass(frozen=True, slots=True)
class Place:
    """A method at a path."""

    kind: Kind
    method: str
    path: str

    def at(self, things: Things) -> str:
        """The path to an account's things."""
        return re.sub(r"\{(\w+)\}", lambda name: str(things.ids[name[1]]), self.path)

    @property
    def is_about_one(self) -> bool:
        return "{" in self.path


def places(*kinds: Kind) -> Iterator[Place]:
    for kind in kinds:
        for router in routers_of(kind):
            for route in router.routes:
                assert isinstance(route, APIRoute | Route)
                for method in sorted(route.methods or ()):
                    yield Place(kind, method, route.path)


ALL = list(places(*Kind))
PAGES = [place for place in ALL if place.path not in OPEN | PROOF]
READ = [place for place in PAGES if place.method == "GET"]
POSTS = [place for place in ALL if place.method != "GET"]


@pytest.fixture
def acme(database: Engine, settings: Settings, receiver: Receiver) -> Things:
    return things_of(database, settings, receiver, "acme")[0]


@pytest.fixture
def both(database: Engine, settings: Settings, receiver: Receiver) -> list[Things]:
    return things_of(database, settings, receiver, "acme", "globex")


def signed_in(people: People, kind: Kind) -> Browser:
    return people.operator(proved=True) if kind is Kind.CONSOLE else people.customer()


def call(browser: Browser, place: Place, things: Things) -> requests.Response:
    path = place.at(things)
    return browser.get(path) if place.method == "GET" else browser.post(path)


def is_bound(answer: requests.Response) -> bool:
    """Whether it has all headers that bind browsers."""
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    own = {name: policy.pop(name) for name in ("script-src", "style-src", "img-src", "connect-src", "form-action")}
    assert set(own.values()) == {"'self'"}
    assert policy == {"default-src": "'none'", "base-uri": "'none'", "frame-ancestors": "'none'"}
    wanted = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
        "X-Frame-Options": "DENY",
    }
    return {name: answer.headers.get(name) for name in wanted} == wanted and "X-Request-Id" in answer.headers


def test_every_answer_has_the_headers_that_bind_browsers(people: People, acme: Things) -> None:
    for kind in Kind:
        some_of_each = [call(signed_in(people, kind), place, acme) for place in ALL if place.kind is kind]
        strangers = [call(people.stranger(kind), place, acme) for place in ALL if place.kind is kind]
        wrong = [people.stranger(kind).get(path) for path in ("/nowhere", "/webhooks/x", "/static/nothing.css")]
        assert len(some_of_each) > len(OPEN)
        assert [answer.url for answer in (*some_of_each, *strangers, *wrong) if not is_bound(answer)] == []


def test_no_page_answers_without_a_session(people: People, acme: Things) -> None:
    for place in PAGES:
        answer = call(people.stranger(place.kind), place, acme)
        assert answer.status_code == 303, place
        login = f"/{place.kind}/login"
        assert answer.headers["Location"].startswith(login), place
        assert answer.content == b"", place


def test_a_part_of_a_page_leads_to_the_login_too(people: People, acme: Things) -> None:
    page = next(place for place in READ if place.kind is Kind.CONSOLE)
    answer = people.stranger().get(page.at(acme), HX_Request="true", HX_Target="div#list")
    assert (answer.status_code, answer.content) == (401, b"")
    assert answer.headers["HX-Redirect"].startswith("/console/login")


def test_nothing_is_done_for_a_page_of_another_site(people: People, acme: Things, database: Engine) -> None:
    for place in POSTS:
        browser = signed_in(people, place.kind)
        for site in ("cross-site", "same-site", "none", ""):
            assert browser.post(place.at(acme), Sec_Fetch_Site=site).status_code == 403, (place, site)
    (audited,) = rows(database, "SELECT count(*) FROM dispatcher.audit WHERE action = 'session.ended'")
    assert audited.count == 0


def test_what_is_another_accounts_is_not_found_in_the_portal(people: People, both: list[Things]) -> None:
    globex = both[1]
    customer = people.customer("acme")
    for place in PAGES:
        if place.kind is Kind.PORTAL and place.is_about_one:
            theirs, nobodys = call(customer, place, globex), call(customer, place, _of_nobody(globex))
            assert (theirs.status_code, nobodys.status_code) == (404, 404), place
            assert "globex" not in theirs.text, place


def _of_nobody(things: Things) -> Things:
    return Things("nobody", {name: new_id() for name in things.ids})


def test_what_another_account_has_is_in_no_list_of_the_portal(people: People, both: list[Things]) -> None:
    customer = people.customer("acme")
    for place in READ:
        if place.kind is Kind.PORTAL and not place.is_about_one:
            for query in ("", "?account=globex", "?app=&state="):
                answer = customer.get(place.path + query)
                assert "globex" not in answer.text.replace("account=globex", ""), (place, query)


def test_who_may_only_look_can_change_nothing(people: People, acme: Things) -> None:
    observer, reader = people.operator(Scope.OBSERVE), people.customer("acme", "read")
    for place in PAGES:
        if place.method != "GET":
            browser = observer if place.kind is Kind.CONSOLE else reader
            assert call(browser, place, acme).status_code == 403, place


def test_every_page_is_made_with_few_statements_and_is_small(people: People, acme: Things) -> None:
    for place in READ:
        browser = signed_in(people, place.kind)
        call(browser, place, acme)  # what all who look share is read once in five seconds
        with statements() as sent:
            answer = call(browser, place, acme)
        assert answer.status_code in {200, 303}, (place, answer.text)
        assert len(sent) <= MOST_STATEMENTS, (place, sent)
        assert len(gzip.compress(answer.content)) <= MOST_BYTES, place


class Bare(HTMLParser):
    """The texts of a page that are ours and were not translated, and what no page may have."""

    VOID = frozenset({"meta", "link", "input", "br", "hr", "img"})
    SKIPPED = frozenset({"script", "code", "pre", "time", "svg", "kbd", "title"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[tuple[str, bool]] = []
        self.texts: list[str] = []
        self.active: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.active += [name for name in given if name.startswith("on") or name in {"style", "srcdoc"}]
        self.active += [name for name in given if name.startswith("hx-on") or name in {"hx-vals", "hx-vars"}]
        foreign = tag in self.SKIPPED or given.get("translate") == "no" or (given.get("lang") == "en" and tag != "html")
        foreign = foreign or bool(self.stack and self.stack[-1][1])
        if not foreign:
            shown = [given.get(name) for name in ("aria-label", "placeholder", "data-label", "alt")]
            self.texts += [value for value in shown if value]
        if tag not in self.VOID:
            self.stack.append((tag, foreign))

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not (self.stack and self.stack[-1][1]) and data.strip():
            self.texts.append(data.strip())

    @property
    def bare(self) -> list[str]:
        """What is outside of the marks of translated texts, which may have elements in them; units are no words."""
        left, depth = "", 0
        for character in "\n".join(self.texts):
            depth += (character == "⟦") - (character == "⟧")
            left += character if depth == 0 and character != "⟧" else ""
        return [text for text in left.splitlines() if re.search(r"[^\W\d_]{2,}", text.replace("UTC", ""))]


def test_every_text_of_every_page_can_be_translated(
    people: People, running: Running, acme: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in Kind:
        monkeypatch.setattr(Face, "app", face(kind, running.serving, Pseudo()))
        for path, page in in_pseudo(people, kind, acme):
            seen = Bare(page)
            assert seen.bare == [], (kind, path)
            assert seen.active == [], (kind, path)


def in_pseudo(people: People, kind: Kind, things: Things) -> Iterator[tuple[str, str]]:
    """Each page, which is in a language that nobody speaks."""
    browser = signed_in(people, kind)
    for place in ALL:
        if place.kind is kind and place.method == "GET":
            answer = call(browser, place, things)
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                yield place.path, answer.text
    yield "an error", browser.get("/nowhere").text
    yield "a wrong key", people.stranger(kind).post("/login", {"key": "x.y"}).text
