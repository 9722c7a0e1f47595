"""`/v1/accounts/{name}/limits`, for operators."""

import pytest
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.settings.quotas import DEFAULTS
from tests.factories import change, make_account
from tests.integration.api.conftest import Api, MakeKey, errors

PATH = "/v1/accounts/acme/limits"
WEBHOOK = {"url": "https://example.com/", "event_types": ["message"], "contract": {"envelope": "object"}}


def test_an_operator_sets_limits_and_sees_which_are_the_accounts_own(api: Api, operator: str, database: Engine) -> None:
    make_account(database)
    assert api.call("GET", PATH, token=operator).json() == {"account": "acme", "own": {}, "limits": DEFAULTS}
    own = {"webhooks": 7, "events_per_day": None}
    answer = api.call("PUT", PATH, own, token=operator)
    assert (answer.status_code, answer.json()) == (
        200,
        {"account": "acme", "own": own, "limits": {**DEFAULTS, **own}},
    )
    assert api.call("GET", PATH, token=operator).json() == answer.json()
    assert api.call("PUT", PATH, {"keys": 1}, token=operator).json()["own"] == {"keys": 1}
    assert api.call("PUT", PATH, {}, token=operator).json()["own"] == {}


@pytest.mark.parametrize(
    ("body", "field"), [({"webhooks": 0}, "webhooks"), ({"webhooks": "5"}, "webhooks"), ({"hooks": 5}, "hooks")]
)
def test_what_is_no_limit_is_refused(
    api: Api, operator: str, database: Engine, body: dict[str, object], field: str
) -> None:
    make_account(database)
    refused = api.call("PUT", PATH, body, token=operator)
    assert refused.status_code == 422
    assert errors(refused).keys() == {field}
    assert api.call("GET", PATH, token=operator).json()["own"] == {}


def test_an_account_sets_none_of_its_own_limits(api: Api, make_key: MakeKey) -> None:
    everything = make_key("acme", Scope.READ, Scope.SEND, Scope.MANAGE)
    for method in ("GET", "PUT"):
        assert api.call(method, PATH, token=everything).status_code == 403


def test_an_account_that_does_not_exist_has_no_limits(api: Api, operator: str) -> None:
    for method in ("GET", "PUT"):
        assert api.call(method, PATH, token=operator).status_code == 404


def test_a_stored_limit_that_is_none_is_shown_as_the_default(api: Api, operator: str, database: Engine) -> None:
    make_account(database)
    change(database, """UPDATE dispatcher.accounts SET limits = '{"webhooks": "many", "of_a_newer_version": 1}'""")
    assert api.call("GET", PATH, token=operator).json() == {"account": "acme", "own": {}, "limits": DEFAULTS}


def test_one_webhook_or_key_too_many_is_a_conflict_that_names_the_limit(
    api: Api, operator: str, manager: str, database: Engine
) -> None:
    api.call("PUT", PATH, {"webhooks": 1, "keys": 2}, token=operator)
    assert api.call("POST", "/v1/webhooks", WEBHOOK, token=manager).status_code == 201
    for token in (manager, operator):
        refused = api.call("POST", "/v1/webhooks", {**WEBHOOK, "account": "acme"}, token=token)
        assert refused.status_code == 409
        assert refused.json()["detail"] == "the account may have 1 webhooks (its limit `webhooks`), and has as many"
    key = {"account": "acme", "scopes": ["read"]}
    assert api.call("POST", "/v1/keys", key, token=operator).status_code == 201
    refused = api.call("POST", "/v1/keys", key, token=operator)
    assert (refused.status_code, "2 API keys" in refused.json()["detail"]) == (409, True)
