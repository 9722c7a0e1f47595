"""`/v1/accounts` and `/v1/keys`: an operator's, and nobody else's."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.settings import Settings
from tests.factories import change, make_account, make_webhook, rows, upkeep_once
from tests.integration.api.conftest import Api, MakeKey

EVENT = {"type": "message.sent", "data": 1}


@pytest.fixture
def operator(make_key: MakeKey) -> str:
    return make_key(None, Scope.OPERATOR)


def pages(api: Api, token: str, path: str, **query: Any) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = api.call("GET", path, token=token, params={**query, "cursor": cursor}).json()
        seen += page["items"]
        if (cursor := page["next"]) is None:
            return seen


def make(api: Api, operator: str, **members: Any) -> Any:
    answer = api.call("POST", "/v1/keys", token=operator, json={"account": "acme", "scopes": ["send"], **members})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_an_account_is_made_once_and_listed(api: Api, operator: str, database: Engine) -> None:
    made = api.call("POST", "/v1/accounts", token=operator, json={"name": "acme"})
    assert (made.status_code, made.json()["name"]) == (201, "acme")
    again = api.call("POST", "/v1/accounts", token=operator, json={"name": "acme"})
    assert (again.status_code, again.headers["Content-Type"]) == (409, "application/problem+json")
    for name in (*"bcde", "naïve 🎉"):
        api.call("POST", "/v1/accounts", token=operator, json={"name": name})
    listed = pages(api, operator, "/v1/accounts", limit=2)
    assert [item["name"] for item in listed] == ["naïve 🎉", "e", "d", "c", "b", "acme"]
    assert listed[-1] == made.json()


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": " a"}, {"name": "a\0"}, {"name": "x" * 256}, {"name": 7}, {"name": "a", "x": 1}]
)
def test_a_bad_account_is_refused(api: Api, operator: str, database: Engine, body: dict[str, object]) -> None:
    answer = api.call("POST", "/v1/accounts", token=operator, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "x" if "x" in body else "name")
    assert rows(database, "SELECT 1 FROM dispatcher.accounts") == []


def test_a_new_keys_token_is_shown_once_and_opens_its_scopes(api: Api, operator: str, database: Engine) -> None:
    make_account(database)
    made = make(api, operator, scopes=["send", "read", "send"], name="backend", days=2)
    secret = made["token"].partition(".")[2]
    assert (made["account"], made["scopes"], made["name"]) == ("acme", ["send", "read"], "backend")
    life = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=1, hours=23) < life <= timedelta(days=2)
    assert api.post_event(EVENT, token=made["token"]).status_code == 202
    assert api.call("GET", "/v1/events", token=made["token"]).status_code == 200
    assert api.call("GET", "/v1/keys", token=made["token"]).status_code == 403
    listed = api.call("GET", "/v1/keys", token=operator)
    assert secret not in listed.text
    (shown, _) = listed.json()["items"]
    assert shown["last_used_at"] is not None
    assert shown == {name: value for name, value in made.items() if name != "token"} | {
        "last_used_at": shown["last_used_at"]
    }


def test_the_answer_with_a_token_is_not_to_be_kept(api: Api, operator: str, database: Engine) -> None:
    answer = api.call("POST", "/v1/keys", token=operator, json={"scopes": ["operator"]})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert answer.json()["account"] is None
    assert api.call("GET", "/v1/accounts", token=answer.json()["token"]).status_code == 200


def test_keys_are_listed_of_all_or_of_one_account(api: Api, operator: str, database: Engine) -> None:
    for account in ("acme", "other"):
        make_account(database, account)
    made = [make(api, operator, account=account)["id"] for account in ("acme", "other", "acme", "acme")]
    own = str(UUID(operator.partition(".")[0]))
    assert [key["id"] for key in pages(api, operator, "/v1/keys", limit=2)] == [*made[::-1], own]
    assert [key["id"] for key in pages(api, operator, "/v1/keys", account="other", limit=1)] == [made[1]]
    assert api.call("GET", "/v1/keys", token=operator, params={"account": "nobody"}).status_code == 422


def test_a_revoked_key_and_its_tokens_open_nothing(api: Api, operator: str, database: Engine) -> None:
    make_account(database)
    made = make(api, operator)
    form = {
        "grant_type": "client_credentials",
        "client_id": made["id"],
        "client_secret": made["token"].partition(".")[2],
    }
    token = api.call("POST", "/oauth2/token", data=form).json()
    assert api.post_event(EVENT, token=token["access_token"]).status_code == 202
    for _ in range(2):  # the second time changes nothing
        revoked = api.call("DELETE", f"/v1/keys/{made['id']}", token=operator)
        assert (revoked.status_code, revoked.content) == (204, b"")
    for gone in (made["token"], token["access_token"]):
        assert api.post_event(EVENT, token=gone).status_code == 401
    assert pages(api, operator, "/v1/keys", account="acme")[0]["revoked_at"] is not None
    assert api.call("DELETE", "/v1/keys/0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00", token=operator).status_code == 404
    assert api.call("DELETE", "/v1/keys/7", token=operator).status_code == 422


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["all"]}, "scopes.0"),
        ({"scopes": ["operator"]}, "scopes"),
        ({"account": None}, "scopes"),
        ({"account": "nobody"}, "account"),
        ({"account": "a\0"}, "account"),
        ({"name": "a\0"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": ""}, "name"),
        ({"days": 0}, "days"),
        ({"days": 36_501}, "days"),
        ({"days": 1.5}, "days"),
        ({"token": "x"}, "token"),
    ],
)
def test_a_bad_key_is_refused(
    api: Api, operator: str, database: Engine, members: dict[str, object], field: str
) -> None:
    make_account(database)
    body = {"account": "acme", "scopes": ["send"], **members}
    answer = api.call("POST", "/v1/keys", token=operator, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert len(rows(database, "SELECT 1 FROM dispatcher.api_keys")) == 1


@pytest.mark.parametrize("name", ["acme", "a/b", "a/suspend", "naïve 🎉"])
def test_an_account_is_suspended_and_resumed_by_its_name(api: Api, operator: str, database: Engine, name: str) -> None:
    make_account(database, name)
    path = f"/v1/accounts/{quote(name, safe='')}"
    for action, since in (("suspend", True), ("suspend", True), ("resume", False), ("resume", False)):
        answer = api.call("POST", f"{path}/{action}", token=operator)
        assert (answer.status_code, answer.json()["suspended_at"] is not None) == (200, since), answer.text
    assert pages(api, operator, "/v1/accounts") == [answer.json()]
    for unknown in ("nobody", "%00", "x" * 256):
        assert api.call("POST", f"/v1/accounts/{unknown}/suspend", token=operator).status_code in {404, 422}


def test_a_suspended_accounts_keys_and_tokens_are_refused_with_the_reason(
    api: Api, operator: str, make_key: MakeKey
) -> None:
    key = make_key("acme", Scope.READ, Scope.SEND)
    client = {"client_id": key.partition(".")[0], "client_secret": key.partition(".")[2]}
    form = {"grant_type": "client_credentials", **client}
    token = api.call("POST", "/oauth2/token", data=form).json()["access_token"]
    api.call("POST", "/v1/accounts/acme/suspend", token=operator)
    for shown in (key, token):
        for answer in (api.post_event(EVENT, token=shown), api.call("GET", "/v1/webhooks", token=shown)):
            assert (answer.status_code, answer.json()["detail"]) == (403, "the account 'acme' is suspended")
    refused = api.call("POST", "/oauth2/token", data=form)
    assert refused.status_code == 401
    assert refused.json() == {"error": "invalid_client", "error_description": "the account 'acme' is suspended"}
    assert api.call("GET", "/v1/webhooks", token=f"{client['client_id']}.wrong").status_code == 401
    api.call("POST", "/v1/accounts/acme/resume", token=operator)
    assert [api.post_event(EVENT, token=shown).status_code for shown in (key, token)] == [202, 202]


def test_an_operator_sends_no_event_for_a_suspended_account_but_sees_it(
    api: Api, operator: str, database: Engine
) -> None:
    make_account(database)
    api.call("POST", "/v1/accounts/acme/suspend", token=operator)
    answer = api.post_event({**EVENT, "account": "acme"}, token=operator)
    assert (answer.status_code, answer.json()["errors"]) == (409, [{"field": "account", "reason": "is suspended"}])
    batch = api.call("POST", "/v1/events/batch", {"events": [{**EVENT, "account": "acme"}]}, token=operator).json()
    assert batch["items"] == [{"status": "refused", "errors": answer.json()["errors"]}]
    assert api.call("GET", "/v1/events", token=operator, params={"account": "acme"}).json()["items"] == []


@pytest.mark.parametrize("name", ["acme", "a/b"])
def test_an_account_is_deleted_for_good_and_shown_until_it_is_gone(
    api: Api, operator: str, make_key: MakeKey, database: Engine, settings: Settings, name: str
) -> None:
    key = make_key(name, Scope.READ)
    make_webhook(database, settings, url="http://127.0.0.1:9/", account=name)
    path = f"/v1/accounts/{quote(name, safe='')}"
    shown = api.call("GET", path, token=operator).json()
    assert (shown["name"], shown["deleted_at"], shown["webhooks"], shown["deliveries"]) == (name, None, 1, 0)
    for _ in range(2):
        deleted = api.call("DELETE", path, token=operator)
        assert (deleted.status_code, deleted.json()["deleted_at"] is not None) == (202, True)
    assert pages(api, operator, "/v1/accounts") == [deleted.json()]
    assert api.call("GET", path, token=operator).json()["webhooks"] == 1
    assert api.call("GET", "/v1/webhooks", token=key).status_code == 401
    assert api.call("POST", f"{path}/resume", token=operator).status_code == 409
    assert api.post_event({**EVENT, "account": name}, token=operator).status_code == 422
    assert api.call("POST", "/v1/accounts", token=operator, json={"name": name}).status_code == 409
    upkeep_once(settings)
    change(database, "UPDATE dispatcher.webhooks SET deleted_at = now() - interval '11 minutes'")
    upkeep_once(settings)
    assert api.call("GET", path, token=operator).status_code == 404
    assert api.call("DELETE", path, token=operator).status_code == 404


def test_only_an_operator_may(api: Api, make_key: MakeKey, database: Engine) -> None:
    manager = make_key("acme", Scope.READ, Scope.SEND, Scope.MANAGE)
    own = UUID(manager.partition(".")[0])
    for method, path, body in (
        ("GET", "/v1/accounts", None),
        ("POST", "/v1/accounts", {"name": "mine"}),
        ("GET", "/v1/accounts/acme", None),
        ("DELETE", "/v1/accounts/acme", None),
        ("POST", "/v1/accounts/acme/suspend", None),
        ("POST", "/v1/accounts/acme/resume", None),
        ("GET", "/v1/keys", None),
        ("POST", "/v1/keys", {"account": "acme", "scopes": ["send"]}),
        ("DELETE", f"/v1/keys/{own}", None),
    ):
        for token, status in ((manager, 403), ("x.y", 401)):
            assert api.call(method, path, token=token, json=body).status_code == status
    assert len(rows(database, "SELECT 1 FROM dispatcher.api_keys WHERE revoked_at IS NULL")) == 1
    assert len(rows(database, "SELECT 1 FROM dispatcher.accounts")) == 1
