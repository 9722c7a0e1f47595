"""flexEngage's calls about webhooks: their answers, their effects, and every error in the vendor's form."""

import json
import logging
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
import requests
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.dialects.flexengage import brands
from dispatcher.encryption.vault import EncryptionKeys
from dispatcher.settings import read_settings
from dispatcher.web.middleware import MAX_BODY_BYTES
from dispatcher.webhooks import registered
from tests.dead_ports import refusing_port
from tests.dialects.flexengage.conftest import TYPE, CallerOf, FlexEngage, error
from tests.factories import change, make_account, make_webhook, rows
from tests.integration.api.conftest import Restarted

ENDPOINT = "https://example.com/hook"
NO_WEBHOOKS = "No webhooks with that brand ID were found"
NO_WEBHOOK = "No webhook with that brand ID was found"
NO_EVENT = "No event with that ID was found"


def stored(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.webhooks WHERE deleted_at IS NULL ORDER BY number")


def refused(answer: requests.Response) -> dict[str, str]:
    """The validations of a 422."""
    assert error(answer) == (422, "There are errors in the request"), answer.text
    document = answer.json()
    assert document["message"] == "UNPROCESSABLE ENTITY"
    validations: dict[str, str] = document["validations"]
    return validations


# Create


def test_a_webhook_is_one_of_the_engines_own(flexengage: FlexEngage, database: Engine) -> None:
    made = flexengage.create(ENDPOINT, TYPE, "ORDER_EVENTS.OMS")
    (webhook,) = stored(database)
    assert (str(webhook.id), webhook.dialect, webhook.enabled) == (made["id"], "flexengage", True)
    assert webhook.event_types == made["events"] == [TYPE, "ORDER_EVENTS.OMS"]
    assert (webhook.contract["https_only"], webhook.contract["schedule"]) == (True, "hour")
    assert webhook.retry_span == timedelta(seconds=90, minutes=3 + 6 + 12 + 15 + 15) <= timedelta(hours=1)


def test_a_new_webhook_is_enabled_unless_it_says_otherwise(flexengage: FlexEngage) -> None:
    assert flexengage.create(ENDPOINT, "A")["enabled"]
    assert flexengage.create(ENDPOINT, "B", enabled=None)["enabled"]
    assert not flexengage.create(ENDPOINT, "C", enabled=False)["enabled"]


@pytest.mark.parametrize("brand", ["acme", "Zoë & 名?"])
def test_location_is_below_the_address_that_was_called(caller_of: CallerOf, brand: str) -> None:
    caller = caller_of(brand)
    headers = {"Authorization": f"Bearer {caller.token}", "Host": "hooks.example.com:8443"}
    url = f"{caller.origin}/flexengage/v1/{quote(brand)}/webhooks"
    made = requests.post(url, json={"endpoint": ENDPOINT, "events": [TYPE]}, headers=headers, timeout=30)
    location = f"/flexengage/v1/{quote(brand)}/webhooks/{made.json()['id']}"
    assert made.headers["Location"] == f"http://hooks.example.com:8443{location}"
    assert requests.get(caller.origin + location, headers=headers, timeout=30).json() == made.json()


def test_to_know_that_none_of_a_thousand_with_its_endpoint_is_the_same_nothing_is_decrypted_while_others_wait(
    flexengage: FlexEngage, monkeypatch: pytest.MonkeyPatch
) -> None:
    flexengage.create(ENDPOINT, "A")
    decrypted: list[object] = []
    monkeypatch.setattr(EncryptionKeys, "decrypt", lambda _, *given: decrypted.append(given))
    monkeypatch.setattr(registered, "read_stored_contract", decrypted.append)
    flexengage.create(ENDPOINT, "B")
    assert decrypted == []


def test_the_same_endpoint_with_the_same_types_is_a_conflict_in_whatever_order(
    flexengage: FlexEngage, caller_of: CallerOf, database: Engine
) -> None:
    first = flexengage.create("https://example.com", "A.B", "C")
    for endpoint, events in (
        ("https://example.com", ["A.B", "C"]),
        ("HTTPS://Example.com/", ["C", "A.B", "C"]),
        ("https://example.com:443/", ["A.B", "C"]),
        ("https://example.com/./a/%2E%2e", ["A.B", "C"]),
    ):
        answer = flexengage.call("POST", json={"endpoint": endpoint, "events": events})
        told = f"A webhook for endpoint: {endpoint} and eventTypes: {json.dumps(events, separators=(',', ':'))}"
        assert error(answer) == (409, f"{told} already exists")
        assert answer.json()["message"] == "CONFLICT"
    assert len(stored(database)) == 1
    flexengage.create("https://example.com/other", "A.B", "C")
    flexengage.create("https://example.com", "A.B")
    caller_of("other").create("https://example.com", "A.B", "C")
    make_webhook(database, read_settings(), url="https://example.com/third", event_types=["A"])
    flexengage.create("https://example.com/third", "A")
    flexengage.call("DELETE", f"/{first['id']}")
    flexengage.create("https://example.com", "A.B", "C")


@pytest.mark.parametrize(
    ("members", "validations"),
    [
        ({"endpoint": None}, {"endpoint": "endpoint is required"}),
        ({"endpoint": ""}, {"endpoint": "endpoint is required"}),
        ({"endpoint": 1}, {"endpoint": "endpoint must be an HTTPS URL"}),
        ({"endpoint": "http://example.com"}, {"endpoint": "endpoint must be an HTTPS URL"}),
        ({"endpoint": "https://"}, {"endpoint": "endpoint must have a host"}),
        ({"events": []}, {"events": "events is required"}),
        ({"events": TYPE}, {"events": "events must be a list of event types"}),
        ({"events": [TYPE, 1]}, {"events": "events must be a list of event types"}),
        ({"enabled": "yes"}, {"enabled": "enabled must be true or false"}),
        (
            {"endpoint": {}, "events": {}, "enabled": 0},
            {
                "endpoint": "endpoint must be an HTTPS URL",
                "events": "events must be a list of event types",
                "enabled": "enabled must be true or false",
            },
        ),
    ],
)
def test_what_is_refused_is_reported_by_field(
    flexengage: FlexEngage, database: Engine, members: dict[str, Any], validations: dict[str, str]
) -> None:
    answer = flexengage.call("POST", json={"endpoint": ENDPOINT, "events": [TYPE]} | members)
    assert refused(answer) == validations
    assert stored(database) == []


def test_what_the_engine_refuses_is_reported_of_the_vendors_field(flexengage: FlexEngage, database: Engine) -> None:
    for name, value, told in (
        ("endpoint", "https://10.0.0.1/", "endpoint does not lead to a public address"),
        ("events", ["NO TYPE"], "events must be dotted parts"),
        ("events", ["A.*"], "events must be dotted parts"),
    ):
        answer = flexengage.call("POST", json={"endpoint": ENDPOINT, "events": [TYPE]} | {name: value})
        assert refused(answer)[name].startswith(told)
    assert stored(database) == []


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[1]", b"null", b"[" * 1_000])
def test_a_body_that_is_no_object_is_refused(flexengage: FlexEngage, body: bytes) -> None:
    made = flexengage.create()
    for method, path in (("POST", ""), ("PATCH", f"/{made['id']}")):
        assert refused(flexengage.call(method, path, data=body)) == {"body": "body must be a JSON object"}


# Read, switch, delete


def test_a_brands_webhooks_are_listed_in_the_order_of_their_making(flexengage: FlexEngage) -> None:
    assert flexengage.call("GET").json() == []
    made = [flexengage.create(ENDPOINT, name) for name in "ABC"]
    assert flexengage.call("GET").json() == made
    assert [flexengage.call("GET", f"/{webhook['id']}").json() for webhook in made] == made


@pytest.mark.parametrize(
    "others",
    [{}, {"endpoint": "https://example.com/other"}, {"events": ["OTHER"]}, {"endpoint": None, "events": []}],
)
def test_only_the_switch_can_be_changed(flexengage: FlexEngage, database: Engine, others: dict[str, Any]) -> None:
    made = flexengage.create(ENDPOINT + "?key=planted")
    assert made["endpoint"] == ENDPOINT + "?key=planted"
    answer = flexengage.call("PATCH", f"/{made['id']}", json={"enabled": False, **others})
    assert (answer.status_code, answer.content) == (204, b"")
    changed = flexengage.call("GET", f"/{made['id']}").json()
    assert changed | {"updated": made["updated"]} == made | {"enabled": False}
    assert stored(database)[0].disabled_by.endswith(" through flexengage")
    flexengage.call("PATCH", f"/{made['id']}", json={"enabled": True})
    assert stored(database)[0].enabled


@pytest.mark.parametrize(
    ("body", "told"),
    [({}, "is required"), ({"enabled": None}, "is required"), ({"enabled": 1}, "must be true or false")],
)
def test_a_switch_is_true_or_false(flexengage: FlexEngage, body: dict[str, Any], told: str) -> None:
    made = flexengage.create()
    assert refused(flexengage.call("PATCH", f"/{made['id']}", json=body)) == {"enabled": f"enabled {told}"}
    assert flexengage.call("GET", f"/{made['id']}").json() == made


def test_a_deleted_webhook_is_gone(flexengage: FlexEngage) -> None:
    made = flexengage.create()
    answer = flexengage.call("DELETE", f"/{made['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert flexengage.call("GET").json() == []
    assert error(flexengage.call("DELETE", f"/{made['id']}")) == (404, NO_WEBHOOKS)


# Callers

CALLS = {
    ("GET", ""): (Scope.READ, NO_WEBHOOKS),
    ("GET", "/{id}"): (Scope.READ, "A webhook with ID: {id} for brandId: {brand} was not found"),
    ("PATCH", "/{id}"): (Scope.MANAGE, NO_WEBHOOK),
    ("DELETE", "/{id}"): (Scope.MANAGE, NO_WEBHOOKS),
    ("GET", "/{id}/events"): (Scope.READ, NO_WEBHOOK),
    ("GET", "/{id}/events/{event}"): (Scope.READ, NO_EVENT),
    ("POST", "/{id}/events/{event}/retry"): (Scope.MANAGE, NO_EVENT),
    ("POST", ""): (Scope.MANAGE, ""),
}


def test_without_a_valid_token_nothing_is_shown(flexengage: FlexEngage, caller_of: CallerOf, database: Engine) -> None:
    made = flexengage.create()
    expired = caller_of(valid_for=timedelta(days=1)).token
    change(
        database, "UPDATE dispatcher.api_keys SET expires_at = now() WHERE id = :id", id=UUID(expired.partition(".")[0])
    )
    for header in ("", "Bearer", "Bearer nonsense", f"Bearer {flexengage.token[:-1]}", f"Bearer {expired}"):
        for method, path in CALLS:
            filled = path.format(id=made["id"], event=uuid4())
            answer = flexengage.call(method, filled, headers={"Authorization": header})
            assert error(answer)[0] == 401
            assert answer.json()["message"] == "UNAUTHORIZED"
            assert "Bearer" in answer.headers["WWW-Authenticate"]


def test_a_key_may_do_what_its_scopes_say(caller_of: CallerOf, database: Engine) -> None:
    callers = {scope: caller_of("acme", scope) for scope in (Scope.READ, Scope.MANAGE, Scope.SEND)}
    for (method, path), (wanted, _) in CALLS.items():
        for scope, caller in callers.items():
            answer = caller.call(method, path.format(id=uuid4(), event=uuid4()))
            if scope is wanted:
                assert answer.status_code != 403
            else:
                assert (error(answer)[0], answer.json()["message"]) == (403, "FORBIDDEN")


def test_anothers_brand_looks_like_one_that_is_not_there(
    flexengage: FlexEngage, caller_of: CallerOf, database: Engine
) -> None:
    made = flexengage.create()
    event = enqueue(TYPE, 1, account="acme").event_id
    before = stored(database)
    others = {brand: caller_of("other", brand=brand) for brand in ("acme", "nobody", "a%00b")}
    for (method, path), (_, description) in CALLS.items():
        told = set()
        for brand, caller in others.items():
            answer = caller.call(method, path.format(id=made["id"], event=event), json={"enabled": False})
            named = brand.replace("%00", "\0")
            shown = description.format(id=made["id"], brand=named)
            assert error(answer) == ((404, shown) if description else (403, answer.json()["description"]))
            told.add(answer.json()["description"].replace(named, ""))
        assert len(told) == 1
    assert stored(database) == before


def test_what_is_no_webhook_of_this_interface_is_not_found(
    flexengage: FlexEngage, caller_of: CallerOf, database: Engine
) -> None:
    native = make_webhook(database, read_settings(), url="https://example.com/")
    others = caller_of("other").create()
    assert flexengage.call("GET").json() == []
    for method, path in [call for call in CALLS if "{id}" in call[1]]:
        for identifier in (native.id, others["id"], uuid4(), 123):
            answer = flexengage.call(method, path.format(id=identifier, event=uuid4()), json={"enabled": False})
            assert error(answer) == (404, CALLS[method, path][1].format(id=identifier, brand="acme"))
    assert [webhook.enabled for webhook in stored(database)] == [True, True]


def test_an_operators_key_acts_for_the_brand_it_names(caller_of: CallerOf, database: Engine) -> None:
    make_account(database)
    operator = caller_of(None, Scope.OPERATOR)
    made = operator.create()
    assert operator.call("GET").json() == [made]
    for unknown in ("nobody", "a%00b"):
        caller = caller_of(None, Scope.OPERATOR, brand=unknown)
        assert error(caller.call("GET")) == (404, NO_WEBHOOKS)
        assert error(caller.call("POST"))[0] == 403


def test_too_many_requests_are_reported_with_the_time_to_wait(
    flexengage: FlexEngage, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.setenv("DISPATCHER_API_REQUESTS_PER_MINUTE", "1")
    restarted()
    assert flexengage.call("GET").status_code == 200
    answer = flexengage.call("GET")
    assert (error(answer)[0], answer.json()["message"]) == (429, "TOO MANY REQUESTS")
    assert int(answer.headers["Retry-After"]) >= 1


# Other errors


def test_what_there_is_not_is_reported_in_the_same_form(flexengage: FlexEngage) -> None:
    assert error(requests.get(f"{flexengage.origin}/flexengage/nothing", timeout=30))[0] == 404
    assert error(flexengage.call("GET", "/a%0Ab"))[0] == 404
    assert error(flexengage.call("PUT"))[0] == 405
    assert error(flexengage.call("POST", data=b" " * (MAX_BODY_BYTES + 1)))[0] == 413


def test_an_outage_of_the_database_is_reported_in_the_same_form(
    flexengage: FlexEngage, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://user@127.0.0.1:{refusing_port()}/none")
    restarted()
    answer = flexengage.call("GET")
    assert (error(answer)[0], answer.json()["message"]) == (503, "SERVICE UNAVAILABLE")
    assert "Retry-After" in answer.headers


def test_a_defect_is_answered_as_the_vendor_does_and_logged_without_its_text(
    flexengage: FlexEngage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted = uuid4().hex  # not in the source, which may be shown

    def fail(*_: Any) -> None:
        raise RuntimeError(planted)

    monkeypatch.setattr(brands, "owner_of_name", fail)
    with caplog.at_level(logging.ERROR):
        answer = flexengage.call("GET")
    assert answer.status_code == 500
    assert answer.json() == {
        "message": "Internal Server Error",
        "description": "The server encountered an unexpected error.",
        "status": 500,
    }
    (logged,) = [record for record in caplog.records if answer.headers["X-Request-Id"] in record.getMessage()]
    assert "in fail" in logged.getMessage()
    assert planted not in caplog.text


def test_the_description_is_the_apps_own(flexengage: FlexEngage) -> None:
    document = requests.get(f"{flexengage.origin}/flexengage/openapi.json", timeout=30).json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    prefix = "/v1/{brandId}/webhooks"
    assert described == {(method, prefix + path.replace("{event}", "{eventId}")) for method, path in CALLS}
    assert document["servers"] == [{"url": f"{flexengage.origin}/flexengage"}]
