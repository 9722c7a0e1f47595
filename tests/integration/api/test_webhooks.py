"""`/v1/webhooks`: made, shown, listed, changed, deleted."""

import json
import re
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.encryption.stored import ciphertext_columns
from dispatcher.settings import Settings
from dispatcher.web.middleware import MAX_BODY_BYTES
from dispatcher.webhooks import fields
from tests.factories import change, deliver_all, make_account, make_webhook, rows
from tests.integration.api.conftest import Api, MakeKey, errors
from tests.receiver import Receiver

URL = "https://hooks.example.com/in?key=planted-url"
OBJECT = {"envelope": "object"}  # such a webhook takes no URL verification
SIGNED = {"body_signature": {"header": "X-Signature"}}
NEW = {"url": URL, "event_types": ["message"], "contract": OBJECT}


def stored(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.webhooks WHERE deleted_at IS NULL ORDER BY number")


# Making


def test_a_new_webhook_has_every_default_and_shows_its_signing_key_this_once(
    api: Api, manager: str, database: Engine
) -> None:
    made = api.call("POST", "/v1/webhooks", NEW, token=manager)
    document = made.json()
    assert (made.status_code, made.headers["Location"]) == (201, f"{api.origin}/v1/webhooks/{document['id']}")
    key = document["signing_keys"][0].pop("secret")
    assert key.startswith("whsec_")
    assert len(key) > 40
    assert document.pop("created_at").endswith("Z")
    assert document.pop("updated_at").endswith("Z")
    assert document.pop("contract") == {
        "method": "POST",
        "envelope": "object",
        "members": [],
        "content_type": "application/json",
        "user_agent": None,
        "timeout_seconds": 30.0,
        "schedule": "default",
        "rules": {},
        "batch_size": 1,
        "retry_alone": False,
        "rate_limit": None,
        "circuit_breaker": True,
        "body_signature": None,
        "nonce_signature": None,
        "https_only": False,
        "client_certificate": None,
    }
    assert UUID(document.pop("id")) == stored(database)[0].id
    assert document == {
        "account": "acme",
        "app": None,
        "name": None,
        "dialect": None,
        "url": "https://hooks.example.com/in?key=***",
        "event_types": ["message"],
        "contact_email": None,
        "enabled": True,
        "disabled_at": None,
        "disabled_by": None,
        "disabled_reason": None,
        "circuit": "closed",
        "quarantined_at": None,
        "quarantined_reason": None,
        "unreadable": None,
        "authorization": None,
        "headers": {},
        "signing_keys": [{"kind": "hmac", "public_key": None, "until": None}],
        "body_secret": None,
        "nonce_secret": None,
    }
    again = api.call("GET", made.headers["Location"], token=manager)
    assert again.status_code == 200
    assert again.json()["signing_keys"][0]["secret"] == "whsec_***"
    assert key not in again.text


def test_every_member_is_kept_and_no_secret_is_shown(api: Api, manager: str) -> None:
    body = {
        "url": URL,
        "event_types": ["message.inbound", "order"],
        "name": "first",
        "app": "shop",
        "contact_email": "ops@example.com",
        "enabled": False,
        "contract": {
            "timeout_seconds": 5,
            "rules": {"429": {"verdict": "temporary", "honour_retry_after": True}},
            "members": [["type", "event_type"], ["data", "data"]],
            "body_signature": {"header": "X-Signature"},
            "nonce_signature": {"header": "X-Nonce"},
        },
        "authorization": {"kind": "basic", "username": "u", "password": "planted-password"},
        "headers": {"X-Key": "planted-header"},
        "signing": {"kind": "ed25519"},
        "body_secret": "planted-body",
        "nonce_secret": "planted-nonce",
    }
    made = api.call("POST", "/v1/webhooks", body, token=manager)
    document = made.json()
    assert made.status_code == 201
    for member in ("event_types", "name", "app", "contact_email", "enabled"):
        assert document[member] == body[member]
    assert document["contract"]["timeout_seconds"] == 5
    assert document["contract"]["rules"]["429"] == {
        "verdict": "temporary",
        "disable_webhook": False,
        "honour_retry_after": True,
    }
    assert document["contract"]["members"] == [["type", "event_type"], ["data", "data"]]
    assert document["authorization"]["username"] == "u"
    assert document["authorization"]["password"] == "***"
    assert document["headers"] == {"X-Key": "***"}
    assert (document["body_secret"], document["nonce_secret"]) == ("***", "***")
    assert document["signing_keys"][0]["public_key"].startswith("whpk_")
    assert document["disabled_reason"] == "registered disabled"
    assert document["disabled_by"].startswith("API key ")
    assert "planted" not in made.text


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        ({"signing": {"kind": "none"}}, []),
        ({"signing": {"kind": "ed25519"}}, ["ed25519"]),
        ({"signing_key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, ["hmac"]),
    ],
)
def test_signing_is_chosen(api: Api, manager: str, given: dict[str, Any], kinds: list[str]) -> None:
    made = api.call("POST", "/v1/webhooks", NEW | given, token=manager).json()
    assert [key["kind"] for key in made["signing_keys"]] == kinds
    if "signing_key" in given:
        assert made["signing_keys"][0]["secret"] == given["signing_key"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"url": "ftp://hooks.example.com/"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": 7}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["no type!"]}, "event_types"),
        ({"event_types": [7]}, "event_types.0"),
        ({"event_types": "message"}, "event_types"),
        ({"nope": 1}, "nope"),
        ({"enabled": "yes"}, "enabled"),
        ({"name": "a\0b"}, "name"),
        ({"app": ""}, "app"),
        ({"contact_email": "nobody"}, "contact_email"),
        ({"contract": {"nope": 1}}, "contract.nope"),
        ({"contract": {"timeout_seconds": 90}}, "contract.timeout_seconds"),
        ({"contract": {"schedule": "never"}}, "contract.schedule"),
        ({"contract": {"rules": {"404": {"verdict": "good"}}}}, "contract.rules.404.verdict"),
        ({"contract": {"rules": {"100": {"verdict": "rejected"}}}}, "contract.rules"),
        ({"contract": {"batch_size": 5, "envelope": "object"}}, "contract"),
        ({"contract": {"body_signature": {"header": "X-Signature"}}}, "body_secret"),
        ({"contract": {"body_signature": {"header": "Host"}}}, "contract.body_signature.header"),
        ({"contract": {"https_only": True}, "url": "http://hooks.example.com/"}, "url"),
        ({"authorization": {"kind": "planted"}}, "authorization"),
        ({"authorization": {"kind": "basic", "username": "u"}}, "authorization.password"),
        ({"authorization": {"kind": "basic", "username": "a:b", "password": "p"}}, "authorization.username"),
        ({"authorization": {"kind": "bearer", "token": "a b"}}, "authorization.token"),
        ({"authorization": {"kind": "bearer", "token": "t", "username": "u"}}, "authorization.username"),
        (
            {
                "authorization": {
                    "kind": "client_credentials",
                    "endpoint": "http://10.0.0.1/token",
                    "client_id": "i",
                    "client_secret": "s",
                }
            },
            "authorization.endpoint",
        ),
        ({"headers": {"Host": "x"}}, "headers"),
        ({"headers": {"X-A": "a\r\nb"}}, "headers.X-A"),
        ({"headers": {"X-A": 7}}, "headers.X-A"),
        ({"signing": {"kind": "rot13"}}, "signing.kind"),
        ({"signing_key": "whsec_planted"}, "signing_key"),
        (
            {"signing_key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "signing": {"kind": "hmac"}},
            "signing_key",
        ),
        ({"account": "a\0b"}, "account"),
    ],
)
def test_what_is_refused_is_named_and_not_repeated(
    api: Api, manager: str, database: Engine, given: dict[str, Any], field: str
) -> None:
    answer = api.call("POST", "/v1/webhooks", NEW | given, token=manager)
    assert answer.status_code == 422
    assert field in errors(answer)
    assert "planted" not in answer.text
    assert stored(database) == []


def test_all_refused_members_are_named_at_once(api: Api, manager: str) -> None:
    answer = api.call(
        "POST",
        "/v1/webhooks",
        {"nope": 1, "name": 7, "contract": {"circuit_breaker": 3, "batch_size": 0}},
        token=manager,
    )
    assert errors(answer) == {
        "url": "is required",
        "event_types": "is required",
        "nope": "is not known",
        "name": "must be text",
        "contract.circuit_breaker": "must be true or false",
        "contract.batch_size": "must be at least 1",
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"planted", 400),
        (b"[1]", 400),
        (b'{"url":1,"url":2}', 400),
        (b'{"url":NaN}', 400),
        (b"\xff", 400),
        (b'{"url":' + b"[" * 50_000 + b"]" * 50_000 + b"}", 413),
        (b'{"name":"\\ud800"}', 422),
        (b" " * (MAX_BODY_BYTES + 1), 413),
    ],
)
def test_what_is_no_json_object_or_too_long_is_a_problem(api: Api, manager: str, body: bytes, status: int) -> None:
    answer = api.call("POST", "/v1/webhooks", body, token=manager)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert "planted" not in answer.text


def test_a_name_is_one_webhooks_only(api: Api, manager: str) -> None:
    assert api.call("POST", "/v1/webhooks", NEW | {"name": "a"}, token=manager).status_code == 201
    assert api.call("POST", "/v1/webhooks", NEW | {"name": "a"}, token=manager).status_code == 409
    other = api.call("POST", "/v1/webhooks", NEW | {"name": "b"}, token=manager).json()["id"]
    assert api.call("PATCH", f"/v1/webhooks/{other}", {"name": "a"}, token=manager).status_code == 409


# Listing


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200
    return [item["id"] for item in answer.json()["items"]]


def test_pages_stay_right_while_webhooks_come_and_go(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    made = [str(make_webhook(database, settings, url=URL).id) for _ in range(7)]
    first = api.call("GET", "/v1/webhooks?limit=3", token=manager)
    assert ids(first) == made[:3:-1]
    newer = str(make_webhook(database, settings, url=URL).id)
    for gone in (made[4], made[2]):  # the one that the cursor stands on, and one that is to come
        assert api.call("DELETE", f"/v1/webhooks/{gone}", token=manager).status_code == 204
    second = api.call("GET", f"/v1/webhooks?limit=3&cursor={first.json()['next']}", token=manager)
    assert ids(second) == [made[3], made[1], made[0]]
    assert second.json()["next"] is None
    assert ids(api.call("GET", "/v1/webhooks?limit=1", token=manager)) == [newer]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "cursor=x", "cursor=%00", "enabled=2", "app=%00", "app="])
def test_parameters_that_are_none_are_named(api: Api, manager: str, query: str) -> None:
    answer = api.call("GET", f"/v1/webhooks?{query}", token=manager)
    assert answer.status_code == 422
    ((name, reason),) = errors(answer).items()
    assert name == query.partition("=")[0]
    assert re.match("(must|is|has) ", reason), reason


def test_a_list_is_narrowed_by_each_filter(api: Api, manager: str, database: Engine, settings: Settings) -> None:
    plain = str(make_webhook(database, settings, url=URL).id)
    shop = str(make_webhook(database, settings, url="https://hooks.example.com/shop", app="shop").id)
    off = str(make_webhook(database, settings, url="https://hooks.example.com/off", enabled=False).id)
    vendors = str(make_webhook(database, settings, url=URL.replace("hooks.", "Hooks.") + "#part").id)
    change(database, "UPDATE dispatcher.webhooks SET dialect = 'vendor' WHERE id = :id", id=vendors)

    def found(**parameters: str) -> list[str]:
        return ids(api.call("GET", "/v1/webhooks", token=manager, params=parameters))

    assert found() == [vendors, off, shop, plain]
    assert found(app="shop") == [shop]
    assert found(enabled="false") == [off]
    assert found(enabled="true") == [vendors, shop, plain]
    assert found(dialect="vendor") == [vendors]
    assert found(dialect="native") == [off, shop, plain]
    assert found(url="HTTPS://Hooks.example.com/in?key=planted-url") == [vendors, plain]
    assert found(url=URL, dialect="native") == [plain]
    assert found(url=URL.replace("/in", ":443/./%69n")) == [vendors, plain]
    assert found(url="https://hooks.example.com/in?key=other") == []
    refused = api.call("GET", "/v1/webhooks", token=manager, params={"url": "planted"})
    assert (refused.status_code, list(errors(refused))) == (422, ["url"])
    assert "planted" not in refused.text


# Whose


def test_another_accounts_webhook_is_as_unknown_as_one_that_is_not_there(
    api: Api, manager: str, make_key: MakeKey, database: Engine, settings: Settings
) -> None:
    theirs = make_webhook(database, settings, account="other", url=URL).id
    absent = UUID(int=7)
    calls = [
        ("GET", "", None),
        ("PATCH", "", {"name": "mine"}),
        ("DELETE", "", None),
        ("POST", "/enable", {}),
        ("POST", "/disable", {}),
        ("POST", "/rotate-secret", {}),
        ("GET", "/secrets", None),
        ("POST", "/test", {}),
        ("GET", "/health", None),
    ]
    for method, path, body in calls:
        answers = [api.call(method, f"/v1/webhooks/{one}{path}", body, token=manager) for one in (theirs, absent)]
        assert [answer.status_code for answer in answers] == [404, 404]
        texts = {answer.text.replace(str(one), "ID") for answer, one in zip(answers, (theirs, absent), strict=True)}
        assert len(texts) == 1
    assert ids(api.call("GET", "/v1/webhooks", token=manager)) == []
    (webhook,) = stored(database)
    assert (webhook.version, webhook.enabled, webhook.name) == (1, True, None)
    assert rows(database, "SELECT * FROM dispatcher.events") == []


def test_an_operators_key_names_the_account_and_finds_every_webhook_by_its_id(
    api: Api, operator: str, database: Engine
) -> None:
    make_account(database, "acme")
    assert list(errors(api.call("POST", "/v1/webhooks", NEW, token=operator))) == ["account"]
    assert list(errors(api.call("POST", "/v1/webhooks", NEW | {"account": "nobody"}, token=operator))) == ["account"]
    made = api.call("POST", "/v1/webhooks", NEW | {"account": "acme"}, token=operator)
    assert (made.status_code, made.json()["account"]) == (201, "acme")
    path = made.headers["Location"]
    assert api.call("GET", path, token=operator).json()["account"] == "acme"
    assert api.call("PATCH", path, {"name": "n"}, token=operator).json()["name"] == "n"
    assert ids(api.call("GET", "/v1/webhooks?account=acme", token=operator)) == [made.json()["id"]]
    for query in ("", "?account=nobody"):
        assert list(errors(api.call("GET", f"/v1/webhooks{query}", token=operator))) == ["account"]
    assert api.call("GET", f"/v1/webhooks/{UUID(int=7)}", token=operator).status_code == 404


def test_a_key_may_name_no_account_but_its_own(api: Api, manager: str, database: Engine) -> None:
    make_account(database, "other")
    for name in ("other", "nobody"):
        assert api.call("POST", "/v1/webhooks", NEW | {"account": name}, token=manager).status_code == 403
        assert api.call("GET", f"/v1/webhooks?account={name}", token=manager).status_code == 403
    assert api.call("POST", "/v1/webhooks", NEW | {"account": "acme"}, token=manager).status_code == 201


def test_each_call_needs_its_scope(api: Api, make_key: MakeKey, database: Engine, settings: Settings) -> None:
    webhook = f"/v1/webhooks/{make_webhook(database, settings, url=URL).id}"
    reads = [("GET", "/v1/webhooks"), ("GET", webhook), ("GET", f"{webhook}/health"), ("GET", "/v1/notices")]
    changes = [
        ("POST", "/v1/webhooks"),
        ("PATCH", webhook),
        ("DELETE", webhook),
        *(("POST", f"{webhook}/{action}") for action in ("enable", "disable", "rotate-secret", "test")),
        ("GET", f"{webhook}/secrets"),
    ]
    reading, managing = make_key("acme", Scope.READ), make_key("acme", Scope.MANAGE)
    assert {api.call(*call, token=managing).status_code for call in reads} == {403}
    assert {api.call(*call, b"", token=reading).status_code for call in changes} == {403}
    assert {api.call(*call, b"").status_code for call in (*reads, *changes)} == {401}
    assert {api.call(*call, token=reading).status_code for call in reads} == {200}
    assert stored(database)[0].version == 1


def test_a_method_that_is_not_there_is_answered_with_those_that_are(api: Api) -> None:
    for path, methods in (
        ("/v1/webhooks", "GET, POST"),
        (f"/v1/webhooks/{UUID(int=7)}", "GET, PATCH, DELETE"),
        (f"/v1/webhooks/{UUID(int=7)}/health", "GET"),
        (f"/v1/webhooks/{UUID(int=7)}/test", "POST"),
    ):
        answer = api.call("PUT", path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, methods)


# Changing


def test_only_what_is_given_changes(api: Api, manager: str, database: Engine) -> None:
    made = api.call(
        "POST",
        "/v1/webhooks",
        NEW
        | {
            "name": "first",
            "app": "shop",
            "contact_email": "ops@example.com",
            "authorization": {"kind": "bearer", "token": "t"},
            "headers": {"X-A": "1"},
        },
        token=manager,
    ).json()
    path = f"/v1/webhooks/{made['id']}"
    kept = {name: value for name, value in made.items() if name not in {"updated_at", "signing_keys"}}

    def patched(body: dict[str, Any]) -> dict[str, Any]:
        answer = api.call("PATCH", path, body, token=manager)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        return {name: value for name, value in document.items() if name in kept and value != kept[name]}

    assert patched({}) == {}
    assert patched({"name": "second"}) == {"name": "second"}
    assert patched({"name": None, "app": None, "contact_email": None}) == {
        "name": None,
        "app": None,
        "contact_email": None,
    }
    kept |= {"name": None, "app": None, "contact_email": None}
    assert patched({"event_types": ["order", "order", "*"]}) == {"event_types": ["order", "*"]}
    subscribed = rows(database, "SELECT event_type, app FROM dispatcher.subscriptions ORDER BY event_type")
    assert [tuple(row) for row in subscribed] == [("*", None), ("order", None)]
    kept["event_types"] = ["order", "*"]
    assert patched({"url": "https://hooks.example.com/b"}) == {"url": "https://hooks.example.com/b"}
    kept["url"] = "https://hooks.example.com/b"
    assert patched({"headers": {"X-B": "2"}}) == {"headers": {"X-B": "***"}}
    assert patched({"headers": None, "authorization": None}) == {"headers": {}, "authorization": None}
    assert api.call("PATCH", path, {"signing": None}, token=manager).json()["signing_keys"] == []


def test_a_contract_has_fifty_rules_at_most_and_more_that_are_stored_stay(
    api: Api, manager: str, database: Engine
) -> None:
    def rules(count: int) -> dict[str, Any]:
        return {str(400 + number): {"verdict": "rejected"} for number in range(count)}

    refused = api.call("POST", "/v1/webhooks", NEW | {"contract": {**OBJECT, "rules": rules(51)}}, token=manager)
    assert errors(refused) == {"contract.rules": "may be 50 at most"}
    made = api.call("POST", "/v1/webhooks", NEW | {"contract": {**OBJECT, "rules": rules(50)}}, token=manager).json()
    change(
        database,
        "UPDATE dispatcher.webhooks SET contract = CAST(:contract AS jsonb), version = version + 1",
        contract=json.dumps({**OBJECT, "rules": rules(60)}),
    )
    path = f"/v1/webhooks/{made['id']}"
    assert len(api.call("GET", path, token=manager).json()["contract"]["rules"]) == 60
    for contract, status in (
        ({"timeout_seconds": 7}, 200),
        ({"rules": rules(60)}, 200),
        ({"rules": rules(59)}, 422),
        ({"rules": rules(50)}, 200),
        ({"rules": rules(60)}, 422),
    ):
        assert api.call("PATCH", path, {"contract": contract}, token=manager).status_code == status, contract


def test_headers_have_16_kib_of_values_at_most_and_more_that_are_stored_stay(api: Api, manager: str) -> None:
    def headers(count: int, **more: str) -> dict[str, str]:
        return {f"X-{number}": "v" * 4096 for number in range(count)} | more

    refused = api.call("POST", "/v1/webhooks", NEW | {"headers": headers(4, A="v")}, token=manager)
    assert errors(refused) == {"headers": "may have 16384 characters of values at most"}
    made = api.call("POST", "/v1/webhooks", NEW | {"headers": headers(4)}, token=manager).json()
    path = f"/v1/webhooks/{made['id']}"
    with pytest.MonkeyPatch.context() as older:
        older.setattr(fields, "MAX_HEADER_VALUES", 20 * 4096)
        assert api.call("PATCH", path, {"headers": headers(20)}, token=manager).status_code == 200
    for changes, status in (
        ({"authorization": {"kind": "bearer", "token": "t"}}, 200),
        ({"headers": headers(20)}, 200),
        ({"headers": headers(19)}, 422),
        ({"headers": headers(4)}, 200),
        ({"headers": headers(20)}, 422),
    ):
        assert api.call("PATCH", path, changes, token=manager).status_code == status, changes.keys()


def test_a_contract_is_merged_member_by_member(api: Api, manager: str, database: Engine) -> None:
    contract = {**OBJECT, "timeout_seconds": 5, "user_agent": "A", "rules": {"410": {"verdict": "rejected"}}}
    made = api.call("POST", "/v1/webhooks", NEW | {"contract": contract}, token=manager).json()
    path = f"/v1/webhooks/{made['id']}"

    def patched(changes: dict[str, Any] | None) -> dict[str, Any]:
        answer = api.call("PATCH", path, {"contract": changes}, token=manager)
        assert answer.status_code == 200, answer.text
        return dict(stored(database)[0].contract)

    assert patched({"user_agent": None, "timeout_seconds": 6, "retry_alone": True}) == {
        **OBJECT,
        "timeout_seconds": 6,
        "retry_alone": True,
        "rules": {"410": {"verdict": "rejected"}},
    }
    assert patched({"rules": {"429": {"verdict": "temporary"}}})["rules"] == {"429": {"verdict": "temporary"}}
    assert patched({"rules": {}, "retry_alone": False, "timeout_seconds": None}) == OBJECT
    refused = api.call("PATCH", path, {"contract": {"batch_size": 7}}, token=manager)
    assert list(errors(refused)) == ["contract"]  # for what it has already, its envelope
    wrong = api.call(
        "PATCH", path, {"contract": {"circuit_breaker": "open", "nope": 1, "timeout_seconds": 0}}, token=manager
    )
    assert errors(wrong).keys() == {"contract.circuit_breaker", "contract.nope", "contract.timeout_seconds"}
    assert dict(stored(database)[0].contract) == OBJECT


def test_a_secret_of_a_signature_comes_and_goes_with_it(api: Api, manager: str) -> None:
    made = api.call("POST", "/v1/webhooks", NEW, token=manager).json()
    path = f"/v1/webhooks/{made['id']}"
    signature = {"contract": {"body_signature": {"header": "X-Signature", "digest": "sha1"}}}
    assert list(errors(api.call("PATCH", path, signature, token=manager))) == ["body_secret"]
    signed = api.call("PATCH", path, {**signature, "body_secret": "planted"}, token=manager)
    assert signed.json()["body_secret"] == "***"
    assert list(errors(api.call("PATCH", path, {"body_secret": None}, token=manager))) == ["body_secret"]
    unsigned = api.call("PATCH", path, {"contract": {"body_signature": None}}, token=manager)
    assert (unsigned.status_code, unsigned.json()["body_secret"]) == (200, None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": None}, "url"),
        ({"event_types": None}, "event_types"),
        ({"event_types": []}, "event_types"),
        ({"enabled": None}, "enabled"),
        ({"signing": {"kind": "hmac"}}, "signing"),
        ({"account": "acme"}, "account"),
        ({"url": "x"}, "url"),
    ],
)
def test_a_change_that_is_refused_changes_nothing(
    api: Api, manager: str, database: Engine, settings: Settings, body: dict[str, Any], field: str
) -> None:
    webhook = make_webhook(database, settings, url=URL)
    answer = api.call("PATCH", f"/v1/webhooks/{webhook.id}", {"name": "n", **body}, token=manager)
    assert (answer.status_code, list(errors(answer))) == (422, [field])
    assert stored(database)[0].version == 1


def test_what_a_dialect_gave_a_webhook_is_changed_there_only(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url=URL, name="theirs", contract=OBJECT)
    change(database, "UPDATE dispatcher.webhooks SET dialect = 'vendor'")
    path = f"/v1/webhooks/{webhook.id}"
    for member, value in (
        ("event_types", ["*"]),
        ("app", "a"),
        ("contract", {"envelope": "array"}),
        ("authorization", None),
        ("headers", None),
        ("body_secret", "s"),
        ("nonce_secret", "s"),
    ):
        answer = api.call("PATCH", path, {member: value}, token=manager)
        assert answer.status_code == 409
        assert "vendor" in answer.json()["detail"]
        assert member in answer.json()["detail"]
    assert stored(database)[0].version == 1
    changed = api.call(
        "PATCH", path, {"url": "https://b.example.com/", "name": "n", "contact_email": "a@b.example"}, token=manager
    ).json()
    assert (changed["url"], changed["name"], changed["contact_email"]) == ("https://b.example.com/", "n", "a@b.example")
    assert api.call("POST", f"{path}/disable", {}, token=manager).json()["enabled"] is False
    assert api.call("POST", f"{path}/enable", {}, token=manager).json()["enabled"] is True
    assert api.call("POST", f"{path}/test", {}, token=manager).status_code == 202
    assert api.call("DELETE", path, token=manager).status_code == 204


def test_https_only_takes_a_scheme_in_any_case(api: Api, manager: str) -> None:
    contract = {"contract": OBJECT | {"https_only": True}}
    made = api.call("POST", "/v1/webhooks", NEW | contract | {"url": "HTTPS://Hooks.example.com/"}, token=manager)
    assert (made.status_code, made.json()["url"]) == (201, "HTTPS://Hooks.example.com/")
    refused = api.call("PATCH", made.headers["Location"], {"url": "HTTP://hooks.example.com/"}, token=manager)
    assert list(errors(refused)) == ["url"]


# Deleting, enabling, disabling


def test_a_deleted_webhook_is_gone_its_secrets_wiped(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url=URL + "#part", name="n", body_secret="s", contract=SIGNED)
    path = f"/v1/webhooks/{webhook.id}"
    gone = api.call("DELETE", path, token=manager)
    assert (gone.status_code, gone.content) == (204, b"")
    assert api.call("GET", path, token=manager).status_code == 404
    assert api.call("DELETE", path, token=manager).status_code == 404
    assert ids(api.call("GET", "/v1/webhooks", token=manager)) == []
    (row,) = rows(database, "SELECT * FROM dispatcher.webhooks")
    assert row.url_digest is None
    for column in ciphertext_columns():
        if column.table.name == "webhooks":
            assert getattr(row, column.name) is None, column.name


def test_a_disabled_webhook_says_when_by_whom_and_why_and_gets_what_waited_once_enabled(
    api: Api, make_key: MakeKey, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    manager = make_key("acme", Scope.READ, Scope.MANAGE, Scope.SEND)
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    path = f"/v1/webhooks/{webhook.id}"
    off = api.call("POST", f"{path}/disable", {"reason": "asked to"}, token=manager).json()
    key = UUID(manager.partition(".")[0])
    assert (off["enabled"], off["disabled_reason"], off["disabled_by"]) == (False, "asked to", f"API key {key}")
    assert off["disabled_at"].endswith("Z")
    api.post_event({"type": "message.sent", "data": 1}, token=manager)
    deliver_all(settings)
    assert receiver.received == []
    on = api.call("POST", f"{path}/enable", token=manager).json()
    assert (on["enabled"], on["disabled_at"], on["disabled_by"], on["disabled_reason"]) == (True, None, None, None)
    deliver_all(settings)
    assert [request.body for request in receiver.at("/hook")] == [b"[]", b"[1]"]


def test_a_patch_switches_too_and_a_reason_must_be_one(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    path = f"/v1/webhooks/{make_webhook(database, settings, url=URL, contract=OBJECT).id}"
    assert api.call("PATCH", path, {"enabled": False}, token=manager).json()["enabled"] is False
    assert api.call("PATCH", path, {"enabled": True}, token=manager).json()["enabled"] is True
    for body in ({"reason": "x" * 256}, {"reason": "a\0"}, {"reason": 7}):
        assert list(errors(api.call("POST", f"{path}/disable", body, token=manager))) == ["reason"]
    assert api.call("GET", path, token=manager).json()["enabled"] is True
