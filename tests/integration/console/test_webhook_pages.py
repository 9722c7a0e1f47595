"""The pages that make and change webhooks, and what can be done with one there."""

import re
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.receiver_auth.credentials import Bearer
from dispatcher.settings import Settings
from tests.factories import make_webhook, rows
from tests.integration.console.conftest import Browser, People
from tests.receiver import Receiver


@pytest.fixture
def hook(people: People, database: Engine, settings: Settings, receiver: Receiver) -> UUID:
    """A webhook of acme whose receiver answers 503."""
    return make_webhook(database, settings, name="orders", url=receiver.url("/status/503?key=hidden")).id


def row(database: Engine, identifier: UUID) -> Any:
    (found,) = rows(database, "SELECT * FROM dispatcher.webhooks WHERE id = :id", id=identifier)
    return found


def audited(database: Engine, identifier: UUID) -> list[tuple[str, str]]:
    """What was done to it in a browser, and by whom."""
    query = (
        "SELECT actor_kind, action FROM dispatcher.audit WHERE session_id IS NOT NULL AND target_id = :id ORDER BY id"
    )
    return [(entry.actor_kind, entry.action) for entry in rows(database, query, id=identifier)]


def said(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def seen(browser: Browser, hook: UUID) -> str:
    """What the form to change it was made from."""
    found = re.search(r'name="seen" value="([^"]+)"', browser.get(f"/webhooks/{hook}/edit").text)
    assert found
    return found[1]


def filled_in(browser: Browser, path: str) -> dict[str, str]:
    """What a browser sends if nothing is changed in the form of a page."""
    page, fields = browser.get(path).text, {}
    for tag in re.findall(r"<input [^>]*>", page.partition("<main")[2].partition("</main>")[0]):
        given = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if given.get("type") != "checkbox" or " checked" in tag:
            fields[given["name"]] = given["value"]
    fields |= dict(re.findall(r'<textarea id="\w+" name="(\w+)"[^>]*>([^<]*)</textarea>', page))
    for name, options in re.findall(r'<select id="\w+" name="(\w+)"[^>]*>(.*?)</select>', page, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', options)
        fields[name] = chosen[1] if chosen else ""
    return fields


def test_a_webhook_is_made_with_what_the_form_says(people: People, database: Engine, receiver: Receiver) -> None:
    customer = people.customer("acme")
    fields = filled_in(customer, "/webhooks/new") | {
        "url": receiver.url("/hook"),
        "event_types": "message.inbound\r\ncall",
        "name": "mine",
        "headers": "X-Tenant: seven",
        "authorization": "bearer",
        "token": "t0ken",
        "rules": "410=rejected,disable",
        "rate_limit": "2.5",
        "schedule": "hour",
    }
    answer = customer.post("/webhooks/new", fields)
    assert answer.status_code == 303, said(answer.text)
    (made,) = rows(database, "SELECT * FROM dispatcher.webhooks WHERE name = 'mine'")
    assert answer.headers["Location"] == f"/portal/webhooks/{made.id}?done=made"
    assert made.event_types == ["message.inbound", "call"]
    rules = {"410": {"verdict": "rejected", "disable_webhook": True}}
    assert made.contract == {"rules": rules, "rate_limit": 2.5, "schedule": "hour"}
    (tested,) = receiver.received
    assert (tested.body, tested.header("x-tenant")) == (b"[]", "seven")
    assert tested.header("authorization") == "Bearer t0ken"
    assert audited(database, made.id) == [("portal", "webhook.created")]


def test_an_operator_names_the_account_and_may_leave_out_the_test_of_the_url(
    people: People, database: Engine, receiver: Receiver
) -> None:
    operator, customer = people.operator(), people.customer("acme")
    fields = {
        "url": receiver.url("/status/503"),
        "event_types": "*",
        "skip_url_verification": "true",
        "enabled": "true",
    }
    assert 'name="account"' in operator.get("/webhooks/new").text
    usual = filled_in(operator, "/webhooks/new") | fields
    assert "Account : is required" in said(operator.post("/webhooks/new", usual).text)
    assert "Account : does not exist" in said(operator.post("/webhooks/new", usual | {"account": "nobody"}).text)
    assert operator.post("/webhooks/new", usual | {"account": "acme"}).status_code == 303
    usual = filled_in(customer, "/webhooks/new")
    assert {"account", "skip_url_verification"} & usual.keys() == set()
    assert customer.post("/webhooks/new", usual | fields).status_code == 422
    assert len(rows(database, "SELECT 1 FROM dispatcher.webhooks")) == 1
    assert receiver.received == []


def test_each_refusal_stands_at_its_field_and_what_was_filled_in_stays(people: People, database: Engine) -> None:
    customer = people.customer("acme")
    fields = filled_in(customer, "/webhooks/new") | {
        "url": "https://example.com/hook?key=k",
        "event_types": "*",
        "timeout_seconds": "900",
        "batch_size": "many",
        "authorization": "basic",
        "username": "jo",
        "password": "",
        "body_secret": "typed-secret",
    }
    answer = customer.post("/webhooks/new", fields)
    page = answer.text
    assert answer.status_code == 422
    for field, why in {
        "timeout_seconds": "must be at most 60",
        "batch_size": "must be a whole number",
        "password": "is required",
    }.items():
        assert re.search(rf'id="{field}-wrong"[^>]*>{why}<', page), field
        assert f'href="#{field}"' in page
    assert '<a href="#timeout_seconds">Time for an answer, in seconds</a>' in page
    assert 'value="https://example.com/hook?key=k"' in page
    assert 'value="jo"' in page
    assert "typed-secret" not in page
    assert re.search(r'<details class="panel" open><summary><strong>Retries', page)
    assert not rows(database, "SELECT 1 FROM dispatcher.webhooks")


def test_what_came_back_when_the_url_was_tested_is_shown(
    people: People, database: Engine, receiver: Receiver, hook: UUID
) -> None:
    customer = people.customer("acme")
    fields = filled_in(customer, "/webhooks/new") | {"url": receiver.url("/status/503"), "event_types": "*"}
    refused = customer.post("/webhooks/new", fields)
    assert refused.status_code == 422
    assert "The URL did not pass the test." in refused.text
    assert "503 - Service Unavailable" in said(refused.text)
    verified = customer.post(f"/webhooks/{hook}/verify")
    assert "Came back 503 - Service Unavailable Wanted any 2xx" in said(verified.text)
    assert audited(database, hook) == [("portal", "webhook.tested")]


def test_whether_a_name_exists_is_told_to_operators_alone(people: People, database: Engine, settings: Settings) -> None:
    lost = make_webhook(database, settings, name="lost", url="http://nowhere.invalid/").id
    told = said(people.customer("acme").post(f"/webhooks/{lost}/verify").text)
    exactly = said(people.operator().post(f"/webhooks/{lost}/verify").text)
    assert "Came back does not lead to a public address" in told
    assert "does not lead to a public address" not in exactly
    assert "Came back" in exactly
    notes = rows(
        database, "SELECT detail FROM dispatcher.audit WHERE session_id IS NOT NULL AND target_id = :id", id=lost
    )
    assert [entry.detail for entry in notes] == [{"url_verification": "does not lead to a public address"}] * 2


def test_only_what_was_changed_in_the_form_changes(people: People, database: Engine, hook: UUID) -> None:
    operator = people.operator()
    usual = filled_in(operator, f"/webhooks/{hook}/edit")
    assert (usual["url"], usual["name"], usual["event_types"]) == ("", "orders", "*")
    before = row(database, hook)
    changed = usual | {"name": "renamed", "retry_alone": "true", "contact_email": "ops@acme.test"}
    skipped = {"skip_url_verification": "true"}
    assert operator.post(f"/webhooks/{hook}/edit", changed | skipped).status_code == 303
    after = row(database, hook)
    assert (after.name, after.contract, after.contact_email) == ("renamed", {"retry_alone": True}, "ops@acme.test")
    assert bytes(after.url_ciphertext) == bytes(before.url_ciphertext)
    assert audited(database, hook) == [("console", "webhook.changed")]
    query = "SELECT detail FROM dispatcher.audit WHERE session_id IS NOT NULL AND target_id = :id"
    (entry,) = rows(database, query, id=hook)
    assert {change.partition(".")[0] for change in entry.detail["changed"]} == {"name", "contract", "contact_email"}


def test_a_form_that_others_overtook_is_shown_again_and_changes_nothing(
    people: People, database: Engine, hook: UUID
) -> None:
    first, second = people.customer("acme"), people.operator()
    slow = filled_in(first, f"/webhooks/{hook}/edit") | {"name": "slow"}
    assert second.post(f"/webhooks/{hook}/disable", {"reason": "holidays"}).status_code == 303
    answer = first.post(f"/webhooks/{hook}/edit", slow)
    assert (answer.status_code, row(database, hook).name) == (422, "orders")
    assert "Others changed the webhook" in answer.text
    again = slow | {"seen": seen(first, hook)}
    assert first.post(f"/webhooks/{hook}/edit", again).status_code == 303
    assert row(database, hook).name == "slow"


def test_it_is_disabled_with_a_reason_and_enabled_when_its_url_answers(
    people: People, database: Engine, settings: Settings, receiver: Receiver, hook: UUID
) -> None:
    customer = people.customer("acme")
    assert customer.post(f"/webhooks/{hook}/disable", {"reason": "moving house"}).status_code == 303
    disabled = row(database, hook)
    assert (disabled.enabled, disabled.disabled_reason) == (False, "moving house")
    refused = customer.post(f"/webhooks/{hook}/enable")
    assert (refused.status_code, row(database, hook).enabled) == (422, False)
    assert "503 - Service Unavailable" in said(refused.text)
    assert customer.post(f"/webhooks/{hook}/enable", {"skip_url_verification": "true"}).status_code == 422
    assert people.operator().post(f"/webhooks/{hook}/enable", {"skip_url_verification": "true"}).status_code == 303
    assert row(database, hook).enabled
    done = [action for _, action in audited(database, hook)]
    assert done == ["webhook.disabled", "webhook.enabled"]


def test_an_open_circuit_is_closed_and_tried_from_the_page_of_the_webhook(
    people: People, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    well = make_webhook(database, settings, name="well", url=receiver.url("/ok")).id
    with database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trial_at)"
            f" VALUES ('{well}', 30, now(), now(), now() + interval '1 hour')"
        )
    customer = people.customer("acme")
    page = said(customer.get(f"/webhooks/{well}").text)
    assert "Try now" in page
    assert "Close the circuit" in page
    tried = customer.post(f"/webhooks/{well}/test", {"type": "message.trial", "data": '{"n": 1}'})
    (event,) = rows(database, "SELECT id, type FROM dispatcher.events")
    assert (tried.headers["Location"], event.type) == (f"/portal/events/{event.id}?done=sent", "message.trial")
    assert 'id="data-wrong"' in customer.post(f"/webhooks/{well}/test", {"type": "message.trial", "data": "{"}).text
    assert customer.post(f"/webhooks/{well}/enable").status_code == 303
    assert not rows(database, "SELECT 1 FROM dispatcher.circuit_breakers")
    assert [action for _, action in audited(database, well)] == ["webhook.tested", "webhook.enabled"]


def test_a_key_is_rotated_with_an_overlap_and_then_shown_once(people: People, database: Engine, hook: UUID) -> None:
    operator = people.operator(proved=True)
    rotated = operator.post(f"/webhooks/{hook}/rotate", {"overlap_seconds": "3600", "kind": "ed25519"})
    assert rotated.headers["Location"] == f"/console/webhooks/{hook}/secrets?done=rotated"
    assert "whsk_" not in operator.get(f"/webhooks/{hook}/secrets").text
    page = operator.post(f"/webhooks/{hook}/secrets").text
    assert page.index("whsk_") < page.index("whsec_")
    assert "/status/503?key=hidden" in page
    assert 'data-hide-after="60"' in page
    assert [action for _, action in audited(database, hook)] == [
        "webhook.signing_key_rotated",
        "webhook.secrets_shown",
    ]


def test_a_form_for_an_account_is_sent_to_the_page_that_it_is_on(people: People) -> None:
    assert 'action="/console/webhooks/new?account=acme"' in people.operator().get("/webhooks/new?account=acme").text


def test_a_character_that_no_field_takes_is_refused(people: People, hook: UUID) -> None:
    refused = people.operator().post(f"/webhooks/{hook}/disable", {"reason": "a\0b"})
    assert (refused.status_code, "NUL" in refused.text) == (400, True)


def test_an_overlap_that_is_no_number_is_refused_at_its_field(people: People, database: Engine, hook: UUID) -> None:
    operator = people.operator(proved=True)
    for overlap in ("soon", "9" * 5_000, "\u0663", ""):
        refused = operator.post(f"/webhooks/{hook}/rotate", {"overlap_seconds": overlap, "kind": "hmac"})
        assert (refused.status_code, 'id="overlap_seconds-wrong"' in refused.text) == (422, True), overlap[:9]
    assert audited(database, hook) == []


def test_what_shows_secrets_or_cannot_be_taken_back_asks_for_the_key_or_the_name(
    people: People, database: Engine, hook: UUID
) -> None:
    operator = people.operator()
    for action in ("secrets", "rotate", "unsign", "delete"):
        path = f"/webhooks/{hook}/{action}"
        for answer in (operator.get(path), operator.post(path, {"overlap_seconds": "0", "kind": "hmac"})):
            assert answer.headers["Location"].startswith("/console/prove?next="), action
    customer = people.customer("acme")
    at_once = {"overlap_seconds": "0", "kind": "hmac"}
    for action, fields in (("rotate", at_once), ("unsign", {}), ("delete", {})):
        wrong = customer.post(f"/webhooks/{hook}/{action}", fields | {"confirm": "other"})
        assert (wrong.status_code, 'id="confirm-wrong"' in wrong.text) == (422, True), action
    assert audited(database, hook) == []
    assert customer.post(f"/webhooks/{hook}/rotate", at_once | {"confirm": "orders"}).status_code == 303
    stopped = customer.post(f"/webhooks/{hook}/unsign", {"confirm": "orders"})
    assert stopped.headers["Location"] == f"/portal/webhooks/{hook}?done=unsigned"
    assert "It signs with no key now." in said(customer.get(f"/webhooks/{hook}/unsign").text)
    assert customer.post(f"/webhooks/{hook}/delete", {"confirm": "orders"}).status_code == 303
    assert row(database, hook).deleted_at is not None
    assert [action for _, action in audited(database, hook)] == [
        "webhook.signing_key_rotated",
        "webhook.changed",
        "webhook.deleted",
    ]
    assert customer.get(f"/webhooks/{hook}/edit").status_code == 404


def test_the_form_to_change_a_webhook_does_not_stop_signing(people: People, database: Engine, hook: UUID) -> None:
    customer = people.customer("acme")
    usual = filled_in(customer, f"/webhooks/{hook}/edit")
    assert "signing" not in usual
    for signing in ("none", "given"):
        assert customer.post(f"/webhooks/{hook}/edit", usual | {"signing": signing}).status_code == 422, signing
    assert audited(database, hook) == []


def test_who_may_not_see_secrets_does_not_send_them_to_another_origin(
    people: People, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    fields: Any = {"authorization": Bearer("t0ken"), "headers": {"X-Key": "k3y"}, "enabled": False}
    hook = make_webhook(database, settings, url="https://example.com/hook", **fields).id
    path, (manager, trusted) = (
        f"/webhooks/{hook}/edit",
        (people.customer("acme", "read", "manage", *more) for more in ((), ("secrets",))),
    )
    page = manager.get(path).text
    assert "give authorization and headers again" in page
    assert "give authorization and headers again" not in trusted.get(path).text
    usual = filled_in(manager, path) | {"url": receiver.url("/hook")}
    for given, missing in (
        ({}, {"authorization", "headers"}),
        ({"authorization": "none"}, {"headers"}),
        ({"headers_removed": "true"}, {"authorization"}),
    ):
        refused = manager.post(path, usual | given)
        assert refused.status_code == 422
        assert set(re.findall(r'id="(\w+)-wrong"[^>]*>must be given again', refused.text)) == missing
    assert audited(database, hook) == []
    for who, sent in (
        (manager, {"url": "https://example.com:443/other"}),  # of the same origin
        (trusted, {}),
        (
            manager,
            {"url": "https://example.com/hook", "authorization": "bearer", "token": "mine", "headers": "X-Key: m"},
        ),
        (manager, {"url": "http://example.com/hook", "authorization": "none", "headers_removed": "true"}),
        (manager, {}),  # nothing is left that it would learn
    ):
        assert who.post(path, usual | {"seen": seen(who, hook)} | sent).status_code == 303, sent
    assert len(audited(database, hook)) == 5


def test_who_may_not_see_secrets_or_change_anything_is_offered_neither(people: People, hook: UUID) -> None:
    manager = people.customer("acme", "read", "manage")
    who_changed_it = f"/audit?target={hook}"
    assert who_changed_it in people.operator(Scope.OBSERVE).get(f"/webhooks/{hook}").text
    assert who_changed_it not in manager.get(f"/webhooks/{hook}").text
    assert "/secrets" not in manager.get(f"/webhooks/{hook}").text
    assert manager.get(f"/webhooks/{hook}/secrets").status_code == 403
    assert manager.post(f"/webhooks/{hook}/secrets").status_code == 403
    for path in (f"/webhooks/{hook}?done=made", f"/webhooks/{hook}/rotate", "/help"):
        for browser, may in ((manager, False), (people.customer("acme"), True)):
            assert ("ask those who gave you access" in said(browser.get(path).text).lower()) is not may, (path, may)
    done = manager.post(f"/webhooks/{hook}/rotate", {"overlap_seconds": "60", "kind": "hmac"})
    assert done.headers["Location"] == f"/portal/webhooks/{hook}?done=rotated"
    for browser in (people.operator(Scope.OBSERVE), people.customer("acme", "read")):
        page = browser.get(f"/webhooks/{hook}").text
        assert not re.search(rf'/webhooks/{hook}/\w+"', page)


def test_a_question_says_in_numbers_what_will_happen(
    people: People, database: Engine, settings: Settings, hook: UUID
) -> None:
    customer = people.customer("acme")
    for _ in range(2):
        customer.post(f"/webhooks/{hook}/test", filled_in(customer, f"/webhooks/{hook}/test") | {"data": "{}"})
    assert "2 deliveries are open. They wait." in said(customer.get(f"/webhooks/{hook}/disable").text)
    assert "2 deliveries are open. They are discarded." in said(customer.get(f"/webhooks/{hook}/delete").text)


def test_operators_release_what_was_put_aside(people: People, database: Engine, hook: UUID) -> None:
    with database.begin() as connection:
        put_aside = (
            f"UPDATE dispatcher.webhooks SET quarantined_at = now(), quarantined_reason = 'odd' WHERE id = '{hook}'"
        )
        connection.exec_driver_sql(put_aside)
    operator, customer = people.operator(), people.customer("acme")
    assert "odd" in said(operator.get(f"/webhooks/{hook}/release").text)
    assert "/release" not in customer.get(f"/webhooks/{hook}").text
    assert customer.post(f"/webhooks/{hook}/release").status_code == 404
    assert operator.post(f"/webhooks/{hook}/release").status_code == 303
    assert row(database, hook).quarantined_at is None
    assert audited(database, hook) == [("console", "webhook.released")]
