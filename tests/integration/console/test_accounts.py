"""Accounts, keys, sessions, links to the portal, the audit log: what their pages show and do, and for whom."""

import html
import json
import re
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.console.kinds import Kind
from dispatcher.settings import Settings
from tests.factories import change, make_webhook, rows
from tests.integration.console.conftest import Browser, People

URL = "https://hooks.acme.example/in"


def account_id(database: Engine, name: str = "acme") -> str:
    (found,) = rows(database, "SELECT id FROM dispatcher.accounts WHERE name = :name", name=name)
    return str(found.id)


def audited(database: Engine, action: str) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.audit WHERE action = :action ORDER BY id", action=action)


def told(answer: requests.Response) -> str:
    """What a page says, as one line without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def test_an_account_is_suspended_with_a_reason_and_its_people_are_out_until_it_is_resumed(
    people: People, database: Engine
) -> None:
    operator, customer = people.operator(), people.customer("acme")
    path = f"/accounts/{account_id(database)}"
    assert "It has 0 webhooks and 0 deliveries in all." in told(operator.get(f"{path}/suspend"))

    assert operator.post(f"{path}/suspend", {"reason": "a bell \a"}).status_code == 422
    assert audited(database, "account.suspended") == []
    done = operator.post(f"{path}/suspend", {"reason": "unpaid since May"})

    assert (done.status_code, done.headers["Location"]) == (303, f"/console{path}?done=suspended")
    page = told(operator.get(path))
    assert "Account suspended" in page
    assert "unpaid since May" in page
    refused = customer.get("/webhooks")
    assert (refused.status_code, "the account is suspended" in told(refused)) == (403, True)
    (entry,) = audited(database, "account.suspended")
    assert (entry.actor_kind, entry.detail) == ("console", {"name": "acme", "reason": "unpaid since May"})

    operator.post(f"{path}/resume", {"reason": ""})
    assert customer.get("/webhooks").status_code == 200
    assert audited(database, "account.resumed")[0].detail == {"name": "acme"}
    assert "unpaid" not in told(operator.get(path))


def test_an_account_is_made_found_by_its_name_and_shown_with_its_limits(people: People, database: Engine) -> None:
    operator = people.operator()
    taken = operator.post("/accounts/new", {"name": "acme"})
    assert (taken.status_code, "is in use already" in taken.text) == (422, True)

    made = operator.post("/accounts/new", {"name": "Umbrella / EU"})

    path = f"/accounts/{account_id(database, 'Umbrella / EU')}"
    assert made.headers["Location"] == f"/console{path}?done=created"
    assert operator.get("/accounts?account=Umbrella / EU").headers["Location"] == f"/console{path}"
    assert "No account has this name" in told(operator.get("/accounts?account=nobody"))
    page = told(operator.get(path))
    assert "Webhooks 0 of 1,000" in page
    assert "Requests in flight 0 · no limit" in page
    assert "It has no key" in page


def test_a_key_is_made_and_revoked_by_who_shows_theirs_again_and_is_shown_once(
    people: People, database: Engine
) -> None:
    operator = people.operator()
    wanted = {"account": "acme", "scopes": "read", "name": "backend", "days": "30"}
    asked = operator.post("/keys/new?account=acme", wanted)
    assert asked.headers["Location"] == "/console/prove?next=%2Fkeys%2Fnew%3Faccount%3Dacme"

    operator = people.operator(proved=True)
    refusals = (
        ({"scopes": "all"}, "scopes", "May: must be one or more of"),
        ({"days": "0"}, "days", "Valid for how many days: must be from 1"),
        ({"account": "nobody"}, "account", "Account: is not known here"),
    )
    for wrong, field, said in refusals:
        refused = operator.post("/keys/new", wanted | wrong)
        assert (refused.status_code, f'id="{field}-wrong"' in refused.text) == (422, True), wrong
        assert f"Nothing was done. {said}" in told(refused).replace(" :", ":"), "the field as the page calls it"
    made = operator.post("/keys/new", wanted)

    (token,) = re.findall(r'<code id="token" translate="no">([^<]+)<', made.text)
    calls = {"headers": {"Authorization": f"Bearer {token}"}, "timeout": 30}
    assert requests.get(f"{people.origin}/v1/webhooks", **calls).status_code == 200  # type: ignore[arg-type]
    listed = operator.get("/keys?account=acme")
    assert "backend" in listed.text
    assert token.partition(".")[2] not in listed.text
    (key,) = rows(database, "SELECT * FROM dispatcher.api_keys WHERE name = 'backend'")
    assert (key.expires_at - key.created_at).days == 30

    operator.post(f"/keys/{key.id}/revoke")

    assert requests.get(f"{people.origin}/v1/webhooks", **calls).status_code == 401  # type: ignore[arg-type]
    assert "Revoked" in told(operator.get("/keys?account=acme"))
    assert [entry.actor_kind for entry in audited(database, "key.revoked")] == ["console"]


def test_sessions_of_the_portal_are_ended_one_or_all(people: People, database: Engine) -> None:
    operator, one, other = people.operator(proved=True), people.customer("acme"), people.customer("acme")
    first, second = rows(database, "SELECT id FROM dispatcher.sessions WHERE kind = 'portal' ORDER BY id")
    assert "user-7" in told(operator.get("/sessions?account=acme"))

    operator.post(f"/sessions/{first.id}/end")

    assert (one.get("/overview").status_code, other.get("/overview").status_code) == (303, 200)
    assert str(first.id) not in operator.get("/sessions").text
    path = f"/accounts/{account_id(database)}/end-sessions"
    assert "Sessions that end at once: 1." in told(operator.get(path))
    operator.post(path)
    assert other.get("/overview").status_code == 303
    assert operator.get(f"/sessions/{second.id}/end").status_code == 404
    assert audited(database, "account.portal_sessions_ended")[0].detail["sessions"] == 1


def test_an_operator_makes_a_link_and_sees_the_portal_as_a_customer_without_changing_anything(
    people: People, database: Engine
) -> None:
    path = f"/accounts/{account_id(database)}"
    assert people.operator().post(f"{path}/open").headers["Location"].startswith("/console/prove")
    operator = people.operator(proved=True)
    wanted = {"scopes": "read", "user": "user-9", "minutes": "10"}
    for wrong, field in (
        ({"scopes": "manage"}, "scopes"),
        ({"minutes": "61"}, "expires_in"),
        ({"minutes": "x"}, "minutes"),
    ):
        refused = operator.post(f"{path}/portal-link", wanted | wrong)
        assert (refused.status_code, f'href="#{field}"' in refused.text) == (422, True), wrong

    made = operator.post(f"{path}/portal-link", wanted)

    (link,) = re.findall(r'<code id="link" translate="no">([^<]+)<', made.text)
    visitor = people.stranger(Kind.PORTAL)
    assert visitor.post("/enter", {"link": link}).status_code == 303
    assert (visitor.get("/overview").status_code, visitor.post("/enter", {"link": link}).status_code) == (200, 410)

    opened = operator.post(f"{path}/open")

    assert opened.headers["Location"] == "/portal/"
    portal = Browser(people.origin, Kind.PORTAL, opened.cookies.get_dict())
    assert "acme" in told(portal.get("/overview"))
    (session,) = rows(database, "SELECT * FROM dispatcher.sessions WHERE user_label LIKE 'console session %'")
    assert (session.scopes, session.key_id is not None) == (["read"], True)
    assert [entry.user_label for entry in audited(database, "session.begun") if entry.actor_kind == "portal"] == [
        "user-9",
        session.user_label,
    ]
    assert operator.get("/keys").status_code == 200


def test_the_audit_log_is_filtered_and_exported(people: People, database: Engine) -> None:
    operator = people.operator(proved=True)
    operator.post("/keys/new", {"account": "acme", "scopes": "read", "name": "backend"})
    (made,) = audited(database, "key.created")[-1:]

    page = operator.get("/audit?account=acme&actor=console&action=key.created")
    assert all(part in page.text for part in (str(made.target_id), str(made.request_id), "127.0.0.1", "backend"))
    assert f"target={made.session_id}" in page.text
    assert "session.begun" in told(operator.get(f"/audit?target={made.session_id}")), "whose change it was"
    assert "No entry fits" in told(operator.get(f"/audit?target={made.request_id}"))
    for wrong, field in (("target=x", "target"), ("account=nobody", "account"), ("since=never", "since")):
        refused = operator.get(f"/audit?{wrong}")
        assert (refused.status_code, f'id="{field}-wrong"' in refused.text) == (422, True), wrong

    exported = operator.get("/audit.ndjson")
    entries = [json.loads(line) for line in exported.text.splitlines()]
    stored = rows(database, "SELECT id FROM dispatcher.audit ORDER BY id DESC")
    assert [entry["id"] for entry in entries] == [str(row.id) for row in stored]
    assert exported.headers["Content-Disposition"] == 'attachment; filename="audit.ndjson"'
    (only,) = operator.get(f"/audit.ndjson?request={made.request_id}").text.splitlines()
    assert json.loads(only)["detail"]["name"] == "backend"
    assert operator.get("/audit.ndjson?key=x").status_code == 422


def test_the_audit_log_tells_keys_and_webhooks_by_their_names(
    people: People, database: Engine, settings: Settings
) -> None:
    operator = people.operator(proved=True)
    operator.post("/keys/new", {"account": "acme", "scopes": "read", "name": "backend"})
    make_webhook(database, settings, account="acme", name="orders", url="http://127.0.0.1:9/orders")
    make_webhook(database, settings, account="acme", url="http://127.0.0.1:9/unnamed")
    assert "acme backend" in told(operator.get("/audit?action=key.created"))
    webhooks = told(operator.get("/audit?action=webhook.created"))
    assert "acme orders" in webhooks
    assert "http://127.0.0.1:9/unnamed" in webhooks
    (made,) = audited(database, "key.created")[-1:]
    change(database, "UPDATE dispatcher.api_keys SET name = 'night shift' WHERE id = :id", id=made.key_id)
    assert "console night shift" in told(operator.get("/audit?action=key.created"))


def test_an_export_goes_on_from_page_to_page(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.console.pages.audit.EXPORTED_AT_ONCE", 2)
    operator = people.operator()
    entries = operator.get("/audit.ndjson").text.splitlines()
    assert len(entries) == len({json.loads(line)["id"] for line in entries}) == 3


def test_help_names_the_headers_of_the_accounts_own_webhooks(
    people: People, database: Engine, settings: Settings
) -> None:
    customer = people.customer("acme")
    assert "There is no webhook yet" in told(customer.get("/help"))
    signature = {"header": "X-Acme-Signature", "prefix": "sha256="}
    nonce = {"header": "X-Nonce"}
    make_webhook(
        database,
        settings,
        account="acme",
        name="orders",
        url=URL,
        contract={"body_signature": signature, "nonce_signature": nonce},
        body_secret="s" * 24,
        nonce_secret="n" * 24,
    )
    make_webhook(database, settings, account="globex", name="secret-of-globex", url=URL)

    page = told(customer.get("/help"))

    assert "orders HMAC-SHA256, “v1,” and an HMAC of the body alone: sha256, hex" in page
    assert "X-Acme-Signature: sha256=… X-Nonce X-Nonce-timestamp X-Nonce-nonce X-Nonce-algorithm" in page
    assert "globex" not in page
    assert "Where callbacks come from" not in page
