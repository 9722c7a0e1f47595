"""The ways in and out of console and portal."""

import re
import select
import socket
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.console import frame
from dispatcher.console.kinds import Kind
from dispatcher.web import failed_attempts
from tests.factories import change, make_account, rows
from tests.integration.api.conftest import MakeKey, Restarted, Running
from tests.integration.console.conftest import Browser, People, statements


def test_an_operators_key_signs_in_and_is_not_kept(people: People, operator: str, database: Engine) -> None:
    browser = people.stranger()
    answer = browser.post("/login", {"key": operator, "next": "/webhooks?state=disabled"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/webhooks?state=disabled")
    cookie = answer.headers["Set-Cookie"]
    assert re.fullmatch(r"console=[\w-]{43}; HttpOnly; Path=/; SameSite=strict", cookie)
    assert browser.get("/webhooks").status_code == 200
    (session,) = rows(database, "SELECT s::text AS whole FROM dispatcher.sessions s")
    assert operator.partition(".")[2] not in session.whole
    assert browser.cookies["console"] not in session.whole


def test_over_tls_the_cookie_is_the_hosts_alone_and_the_address_stays_on_tls(people: People, operator: str) -> None:
    answer = people.stranger().post("/login", {"key": operator}, X_Forwarded_Proto="https")
    assert re.search(
        r"__Host-console=[\w-]{43}; HttpOnly; Path=/; SameSite=strict; Secure", answer.headers["Set-Cookie"]
    )
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("host", ["console.example.test", "10.0.0.7:8080", "127.0.0.1.example.test", "localhost.test"])
def test_over_plain_http_it_answers_on_this_machine_alone(people: People, operator: str, host: str) -> None:
    for answer in (
        people.stranger().get("/login", Host=host),
        people.stranger().post("/login", {"key": operator}, Host=host),
    ):
        assert answer.status_code == 403
        assert "plain http" in answer.text
        assert "Set-Cookie" not in answer.headers


def test_whoever_has_no_operators_key_gets_one_and_the_same_answer(
    people: People, make_key: MakeKey, database: Engine
) -> None:
    revoked, expired = make_key(None, Scope.OPERATOR), make_key(None, Scope.OPERATOR)
    suspended = make_key("globex", Scope.READ)
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now() WHERE id = :id", id=revoked.partition(".")[0])
    change(database, "UPDATE dispatcher.api_keys SET expires_at = now() WHERE id = :id", id=expired.partition(".")[0])
    change(database, "UPDATE dispatcher.accounts SET suspended_at = now() WHERE name = 'globex'")
    wrong = [
        f"{revoked.partition('.')[0]}.x",
        "",
        "x",
        "ü" * 40,
        revoked,
        expired,
        make_key("acme", Scope.READ),
        suspended,
    ]
    answers = [people.stranger().post("/login", {"key": key}) for key in wrong]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert not any("Set-Cookie" in answer.headers for answer in answers)


def test_an_observer_may_look(people: People, make_key: MakeKey) -> None:
    browser = people.stranger()
    assert browser.post("/login", {"key": make_key(None, Scope.OBSERVE)}).status_code == 303
    assert "observer" in browser.get("/webhooks").text


def test_wrong_tries_keep_nobody_out_who_has_a_right_key_or_a_link(
    people: People, running: Running, operator: str
) -> None:
    assert people.stranger().post("/login", {"key": f"{UUID(int=1)}.x"}).status_code == 401
    for _ in range(2 * failed_attempts.PER_MINUTE):
        running.serving.failures.add("127.0.0.1", monotonic())
    refused = people.stranger().post("/login", {"key": f"{UUID(int=1)}.x"})
    assert refused.status_code == 429
    assert "Please try again in" in refused.text
    assert people.stranger().post("/login", {"key": operator}).status_code == 303
    for kind, account in ((Kind.PORTAL, "acme"), (Kind.CONSOLE, None)):
        wrong = [people.stranger(kind).post("/enter", {"link": f"#{UUID(int=n)}.x"}) for n in range(12)]
        assert {answer.status_code for answer in wrong} == {410}
        link = people.link(kind, account)
        assert people.stranger(kind).post("/enter", {"link": f"#{link.id}.{link.secret}"}).status_code == 303


def test_forms_that_come_slowly_keep_nobody_of_their_address_waiting(people: People) -> None:
    host, port = people.origin.removeprefix("http://").split(":")
    lines = ("POST /portal/enter HTTP/1.1", f"Host: {host}:{port}", "Sec-Fetch-Site: same-origin", "Content-Length: 40")
    link = people.link(Kind.PORTAL, "acme")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall("\r\n".join([*lines, "", "l"]).encode())
        assert not select.select([slow], [], [], 0.3)[0]  # it has come, and is waited for
        entered = people.stranger(Kind.PORTAL).post("/enter", {"link": f"#{link.id}.{link.secret}"})
        assert entered.status_code == 303
        assert not select.select([slow], [], [], 0)[0]


@pytest.mark.parametrize("kind", list(Kind))
def test_cookies_of_no_session_are_refused_beyond_a_limit_without_a_look_and_right_ones_are_not(
    people: People, running: Running, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    looks: list[Any] = []
    look = frame._found
    monkeypatch.setattr(frame, "_found", lambda *given, **how: looks.append(given) or look(*given, **how))
    right = people.operator() if kind is Kind.CONSOLE else people.customer()
    other = people.customer() if kind is Kind.CONSOLE else people.operator()
    wrong = Browser(people.origin, kind, {str(kind): "w" * 43})
    for _ in range(2 * failed_attempts.PER_MINUTE):
        running.serving.failures.add("127.0.0.1", monotonic())
    assert wrong.get("/webhooks").status_code == 429
    (secret,) = other.cookies.values()
    assert Browser(people.origin, kind, {str(kind): secret}).get("/webhooks").status_code == 429
    assert looks == []
    assert right.get("/webhooks").status_code == 200
    running.serving.failures.forget()
    assert [wrong.get("/webhooks").status_code for _ in range(2)] == [303, 303]
    assert len(looks) == 3
    assert "127.0.0.1" in running.serving.failures._free_at


def test_a_cookie_that_cannot_be_a_sessions_costs_no_look_and_counts_as_none(people: People, running: Running) -> None:
    people.stranger().get("/login")
    for secret in ("", "x", "w" * 42, "w" * 44, "w" * 42 + "=", "w" * 42 + "%2e"):
        browser = Browser(people.origin, Kind.CONSOLE, {"console": secret})
        with statements() as sent:
            assert browser.get("/webhooks").status_code == 303
        assert sent == []
    assert running.serving.failures._free_at == {}


def test_a_session_ends_with_its_key(people: People, operator: str, database: Engine) -> None:
    browser = people.stranger()
    browser.post("/login", {"key": operator})
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now()")
    assert browser.get("/webhooks").headers["Location"] == "/console/login?next=%2Fwebhooks"


def test_who_signs_out_is_out_everywhere(people: People) -> None:
    for browser in (people.operator(), people.customer()):
        secret = dict(browser.cookies)
        answer = browser.post("/logout")
        assert answer.status_code == 200
        assert "Max-Age=0" in answer.headers["Set-Cookie"]
        browser.cookies = secret
        assert browser.get("/webhooks").status_code == 303


@pytest.mark.parametrize("kind", Kind)
def test_a_link_signs_in_once(people: People, kind: Kind) -> None:
    account = "acme" if kind is Kind.PORTAL else None
    link = people.link(kind, account)
    url = link.url(people.origin)
    browser = people.stranger(kind)
    assert browser.get("/enter").status_code == 200  # a look at it, by a mail scanner say, uses nothing up
    answer = browser.post("/enter", {"link": url})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/{kind}/webhooks")
    assert browser.get("/webhooks").status_code == 200
    again = people.stranger(kind).post("/enter", {"link": f"#{link.id}.{link.secret}"})
    assert again.status_code == 410
    assert ("ask for a new one" in again.text, "dispatcher console-link" in again.text) == (
        kind is Kind.PORTAL,
        kind is Kind.CONSOLE,
    )
    assert "Set-Cookie" not in again.headers


def test_a_link_that_is_wrong_or_too_old_or_of_the_other_face_signs_nobody_in(people: People) -> None:
    late = people.link(Kind.PORTAL, "acme", expires_in=timedelta(seconds=-1))
    other = people.link(Kind.PORTAL, "acme")
    for kind, link in (
        (Kind.PORTAL, f"#{late.id}.{late.secret}"),
        (Kind.PORTAL, f"#{other.id}.{late.secret}"),
        (Kind.PORTAL, "nonsense"),
        (Kind.CONSOLE, f"#{other.id}.{other.secret}"),
    ):
        assert people.stranger(kind).post("/enter", {"link": link}).status_code == 410, link
    assert people.stranger(Kind.PORTAL).post("/enter", {"link": other.url(people.origin)}).status_code == 303


def test_a_session_of_one_face_is_none_of_the_other(people: People) -> None:
    customer, operator = people.customer(), people.operator()
    customer.kind, operator.kind = Kind.CONSOLE, Kind.PORTAL
    customer.cookies["console"] = customer.cookies["portal"]
    operator.cookies["portal"] = operator.cookies["console"]
    assert (customer.get("/webhooks").status_code, operator.get("/webhooks").status_code) == (303, 303)
    assert 'name="key"' not in people.stranger(Kind.PORTAL).get("/login").text
    assert people.stranger(Kind.PORTAL).post("/login", {"key": "x.y"}).status_code == 405


def test_the_proof_needs_the_sessions_own_key(
    people: People, operator: str, make_key: MakeKey, database: Engine
) -> None:
    browser = people.stranger()
    browser.post("/login", {"key": operator})
    assert browser.post("/prove", {"key": make_key(None, Scope.OPERATOR)}).status_code == 401
    (session,) = rows(database, "SELECT proved_at FROM dispatcher.sessions")
    assert session.proved_at is None
    answer = browser.post("/prove", {"key": operator, "next": "/webhooks"})
    assert answer.headers["Location"] == "/console/webhooks"
    (session,) = rows(database, "SELECT proved_at FROM dispatcher.sessions")
    assert session.proved_at is not None


def test_a_session_of_a_link_is_proved_by_a_key_that_may_do_as_much(people: People, make_key: MakeKey) -> None:
    link = people.link(Kind.CONSOLE)
    browser = people.stranger()
    browser.post("/enter", {"link": f"#{link.id}.{link.secret}"})
    assert browser.post("/prove", {"key": make_key(None, Scope.OBSERVE)}).status_code == 401
    assert browser.get("/keys/new").headers["Location"].startswith("/console/prove")
    assert browser.post("/prove", {"key": make_key(None, Scope.OPERATOR)}).status_code == 303
    assert browser.get("/keys/new").status_code == 200


def test_a_link_to_another_account_is_followed_only_by_who_says_so(people: People, database: Engine) -> None:
    make_account(database, "globex")
    browser, link = people.customer("acme"), people.link(Kind.PORTAL, "globex")
    before = Browser(people.origin, Kind.PORTAL, dict(browser.cookies))
    shown = f"#{link.id}.{link.secret}"
    asked = browser.post("/enter", {"link": shown})
    assert (asked.status_code, "Set-Cookie" in asked.headers) == (409, False)
    assert re.search(r"<strong[^>]*>acme</strong>.*<strong[^>]*>globex</strong>", asked.text, re.DOTALL)
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    assert people.customer("acme").post("/enter", fields).status_code == 409  # said of another session
    assert before.get("/webhooks").status_code == 200
    assert browser.post("/enter", fields).status_code == 303
    assert "globex" in browser.get("/webhooks").text
    assert before.get("/webhooks").status_code == 303
    again = people.link(Kind.PORTAL, "globex")
    assert browser.post("/enter", {"link": f"#{again.id}.{again.secret}"}).status_code == 303  # of the same account


def test_whoever_came_by_a_link_is_told_where_a_key_comes_from(people: People, operator: str) -> None:
    browser, link = people.stranger(), people.link(Kind.CONSOLE)
    browser.post("/enter", {"link": f"#{link.id}.{link.secret}"})
    for page in (browser.get("/prove"), browser.post("/prove", {"key": "x.y"})):
        assert "dispatcher key create --scope operator" in page.text
        assert "that you signed in with" not in page.text
    assert browser.post("/prove", {"key": operator, "next": "/keys/new"}).headers["Location"] == "/console/keys/new"


def test_a_suspended_accounts_customers_are_told(people: People, database: Engine) -> None:
    customer = people.customer()
    change(database, "UPDATE dispatcher.accounts SET suspended_at = now()")
    answer = customer.get("/webhooks")
    assert (answer.status_code, "suspended" in answer.text) == (403, True)


def test_it_is_nowhere_while_it_is_switched_off(
    people: People, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.setenv("DISPATCHER_CONSOLE", "off")
    restarted()
    for kind in Kind:
        for path in ("/login", "/webhooks", "/enter", "/static/console.css", ""):
            answer = people.stranger(kind).get(path)
            assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
        assert requests.get(f"{people.origin}/{kind}", allow_redirects=False, timeout=10).status_code == 404


@pytest.mark.parametrize("kind", Kind)
def test_the_address_as_people_type_it_leads_in(people: People, kind: Kind) -> None:
    answer = requests.get(f"{people.origin}/{kind}", allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/{kind}/")


def test_who_comes_from_another_site_is_led_on_to_the_page_with_its_query(people: People) -> None:
    led = people.stranger().get("/login?next=/events%3Fsubject%3Da%2Bb", Sec_Fetch_Site="cross-site").text
    assert 'content="0; url=/console/events?subject=a+b"' in led


def test_chosen_looks_stay(people: People) -> None:
    browser = people.operator()
    browser.cookies["tz"] = "Africa/Johannesburg"
    assert "Africa/Johannesburg" in browser.get("/webhooks").text
    answer = browser.post("/look", {"theme": "dark", "zone": "utc", "next": "/webhooks"})
    assert answer.headers["Location"] == "/console/webhooks"
    page = browser.get("/webhooks").text
    assert ('data-theme="dark"' in page, "Africa/Johannesburg" in page) == (True, False)
    framed = browser.post("/look", {"theme": "dark", "zone": "utc", "next": "/"}, Sec_Fetch_Dest="iframe")
    assert re.search(r"SameSite=none; Secure; Partitioned$", framed.headers["Set-Cookie"])


def test_a_customer_sees_the_account_alone(people: People, database: Engine) -> None:
    make_account(database, "globex")
    assert people.customer().get("/webhooks?account=globex").status_code == 200


ANCESTORS = "https://app.example.com, https://b.example.com"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, people: People, restarted: Restarted) -> People:
    """A server whose portal two platforms may embed."""
    monkeypatch.setenv("DISPATCHER_PORTAL_ANCESTORS", ANCESTORS)
    restarted()
    return people


def framed_by(answer: requests.Response) -> str:
    return answer.headers["Content-Security-Policy"].rpartition("frame-ancestors ")[2]


def test_the_portal_is_shown_in_the_frame_it_was_made_for_and_in_no_other(embedded: People) -> None:
    link = embedded.link(Kind.PORTAL, "acme", embed_origin="https://app.example.com")
    browser = embedded.stranger(Kind.PORTAL)
    entered = browser.get("/enter")
    assert framed_by(entered) == "https://app.example.com https://b.example.com"
    assert "X-Frame-Options" not in entered.headers
    answer = browser.post("/enter", {"link": link.url("")}, Sec_Fetch_Dest="iframe")
    assert "SameSite=none; Secure; Partitioned" in answer.headers["Set-Cookie"]
    for path, status in (("/webhooks", 200), ("/webhooks/x", 404)):
        page = browser.get(path)
        assert (page.status_code, framed_by(page)) == (status, "https://app.example.com")
    assert framed_by(embedded.customer().get("/webhooks")) == "'none'"
    assert framed_by(embedded.stranger().get("/enter")) == "'none'"  # the console's


def test_a_frame_says_so_when_its_session_has_ended_or_is_refused(embedded: People, database: Engine) -> None:
    link = embedded.link(Kind.PORTAL, "acme", embed_origin="https://app.example.com")
    browser = embedded.stranger(Kind.PORTAL)
    browser.get("/enter")
    browser.post("/enter", {"link": link.url("")}, Sec_Fetch_Dest="iframe")
    change(database, "UPDATE dispatcher.accounts SET suspended_at = now()")
    refused = browser.get("/webhooks")
    ended = embedded.stranger(Kind.PORTAL).get("/login")
    for answer, status, text in ((refused, 403, "suspended"), (ended, 401, "You are not signed in")):
        assert (answer.status_code, text in answer.text) == (status, True)
        assert framed_by(answer) == "https://app.example.com https://b.example.com"
    assert framed_by(embedded.stranger().get("/login")) == "'none'"  # the console's


def test_the_way_back_leaves_the_frame(embedded: People) -> None:
    link = embedded.link(
        Kind.PORTAL, "acme", embed_origin="https://app.example.com", return_url="https://app.example.com/"
    )
    browser = embedded.stranger(Kind.PORTAL)
    browser.get("/enter")
    browser.post("/enter", {"link": link.url("")}, Sec_Fetch_Dest="iframe")
    for answer in (browser.get("/webhooks"), browser.post("/logout")):
        assert 'href="https://app.example.com/" target="_top"' in answer.text


def test_what_is_chosen_in_a_frame_is_kept_in_that_frame(people: People) -> None:
    answer = people.customer().post("/look", {"theme": "dark", "next": "/webhooks"}, Sec_Fetch_Dest="iframe")
    assert "look=dark.local" in answer.headers["Set-Cookie"]
    assert answer.headers["Set-Cookie"].endswith("SameSite=none; Secure; Partitioned")


def test_where_a_frame_keeps_no_cookies_the_link_is_not_used_up(embedded: People) -> None:
    link = embedded.link(Kind.PORTAL, "acme", embed_origin="https://app.example.com")
    shown = f"{link.id}.{link.secret}"
    answer = embedded.stranger(Kind.PORTAL).post("/enter", {"link": f"#{shown}"}, Sec_Fetch_Dest="iframe")
    assert (answer.status_code, f'href="/portal/enter#{shown}"' in answer.text) == (409, True)
    assert "Open in a new window" in answer.text
    assert embedded.stranger(Kind.PORTAL).post("/enter", {"link": f"#{shown}"}).status_code == 303
