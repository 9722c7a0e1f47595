"""What OpenAPI says of scopes and shows as examples is what the running API does."""

from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.api.examples import BODIES
from dispatcher.settings import Settings
from tests.api_document import DOCUMENT
from tests.factories import MESSAGE, RECEIVED, change, deliveries, make_webhook
from tests.integration.api.conftest import Api, MakeKey
from tests.routes import Operation

OPERATIONS: dict[str, tuple[Operation, Any]] = {
    operation["operationId"]: (Operation("", method.upper(), path), operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
ID = "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00"


def test_each_operation_asks_for_the_scope_that_it_names(api: Api, make_key: MakeKey, operator: str) -> None:
    account = {Scope.READ, Scope.SEND, Scope.MANAGE}
    without = {scope: make_key("acme", *account - {scope}) for scope in Scope}
    asked, looks, observer = 0, {Scope.READ, Scope.OBSERVE}, make_key(None, Scope.OBSERVE)
    for call, operation in OPERATIONS.values():
        scope = next(iter(operation.get("security", [{}])[0].values()), [])
        if scope:
            assert api.call(call.method, call.at({}, ID), token=observer).status_code == 403 or scope[0] in looks, call
            answer = api.call(call.method, call.at({}, ID), token=without[Scope(scope[0])])
            assert (answer.status_code, answer.json()["detail"]) == (
                403,
                f"the API key does not have the scope `{scope[0]}`",
            ), call
            assert api.call(call.method, call.at({}, ID), token=operator).status_code != 403, call
            asked += 1
    assert asked > 30


@pytest.fixture(autouse=True)
def _console_where_it_is_needed(request: pytest.FixtureRequest) -> None:
    if any(word in request.node.name for word in ("portal", "console")):
        request.getfixturevalue("console_on")


@pytest.fixture
def there(database: Engine, settings: Settings) -> dict[str, object]:
    """The ids of things that are there, by the names of paths' parameters."""
    webhook = make_webhook(database, settings, url="https://example.com/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    (delivery,) = deliveries(database)
    ids = {"webhook_id": webhook.id, "event_id": delivery.event_id, "delivery_id": delivery.id}
    return {**ids, "name": "acme"}


@pytest.mark.parametrize("name", BODIES)
def test_the_body_of_an_example_is_taken(
    api: Api, make_key: MakeKey, operator: str, database: Engine, there: dict[str, object], name: str
) -> None:
    call, operation = OPERATIONS[name]
    if name == "create_account":
        change(database, "UPDATE dispatcher.accounts SET name = 'other'")
    body, arguments = BODIES[name], {}
    token = (
        operator
        if name in {"create_account", "create_key", "set_account_limits"}
        else make_key("acme", Scope.READ, Scope.SEND, Scope.MANAGE)
    )
    if name == "create_token":
        identifier, _, secret = token.partition(".")
        body, arguments = None, {"data": {**body, "client_id": identifier, "client_secret": secret}}
    if name in {
        "create_webhook",
        "update_webhook",
        "enable_webhook",
    }:  # nobody listens there who could pass the URL's test
        token, body = operator, {**body, "skip_url_verification": True}
        body |= {"account": "acme"} if name == "create_webhook" else {}
    if name == "send_event_to_webhook":
        body = {"webhook": str(there["webhook_id"])}
    key = token if name != "create_token" else None
    answer = api.call(call.method, call.at(there, ID), body, token=key, **arguments)
    assert answer.ok, answer.text
    assert str(answer.status_code) in operation["responses"]
