"""An operator's key with the scope `observe`: it sees what one with `operator` sees, except for secrets, and changes
nothing.

The routes come from the API's own table: a new one is looked at, too."""

import re
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.asgi import create_app
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.errors import InvalidAccount
from dispatcher.settings import Settings
from tests.dead_ports import refusing_port
from tests.factories import (
    MESSAGE,
    RECEIVED,
    TESTER,
    change,
    deliver_all,
    deliveries,
    make_account,
    make_recipient,
    make_webhook,
    rows,
)
from tests.integration.api.conftest import Api, MakeKey
from tests.routes import Operation, operations_of

ID = "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00"
SECRETS = "/v1/webhooks/{webhook_id}/secrets"
# It stores nothing. What it answers stands for the key.
TOKENS = "/oauth2/token"
NATIVE = [call for call in operations_of(create_app()) if not call.prefix]


@pytest.fixture
def observer(make_key: MakeKey) -> str:
    return make_key(None, Scope.OBSERVE)


@pytest.fixture
def there(database: Engine, settings: Settings) -> dict[str, object]:
    """The ids of things that are there, by the names of paths' parameters. Of each failure, and of a contact, there is
    something that customers are not told."""
    webhook = make_webhook(database, settings, url=f"http://127.0.0.1:{refusing_port()}/?key=s3cret")
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    (delivery,) = deliveries(database)
    make_recipient(database)
    change(database, "UPDATE dispatcher.requests SET failure = 'dns', failure_detail = 'there is no such name inside'")
    change(database, "UPDATE dispatcher.notices SET fingerprint = 'dns'")
    change(database, "INSERT INTO dispatcher.contacts (mailbox, declined_at) VALUES ('ops@acme.test', now())")
    with Session(database) as session, session.begin():
        redelivery_id = order(session, find_account(session, "acme"), Selection(), by=TESTER).id
    ids = {"webhook_id": webhook.id, "event_id": delivery.event_id, "delivery_id": delivery.id}
    return {**ids, "redelivery_id": redelivery_id, "name": "acme"}


def looked(api: Api, call: Operation, there: dict[str, object], token: str) -> Any:
    """The answer; of the account acme, where one must be named."""
    path = call.at(there, ID)
    answer = api.call("GET", path, token=token)
    return answer if answer.status_code != 422 else api.call("GET", f"{path}?account=acme", token=token)


def without_times(answer: Any) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "a time", answer.text)


def test_it_sees_everything_that_the_scope_operator_sees_except_secrets(
    api: Api, observer: str, operator: str, there: dict[str, object], database: Engine
) -> None:
    (secret,) = api.call("GET", SECRETS.format(**there), token=operator).json()["signing_keys"]
    seen = 0
    for call in NATIVE:
        if call.method != "GET" or not call.path.startswith("/v1/"):
            continue
        answer, theirs = (looked(api, call, there, token) for token in (observer, operator))
        assert theirs.status_code == 200, (call, theirs.text)
        assert "s3cret" not in answer.text
        assert secret["secret"] not in answer.text
        if call.path == SECRETS:
            assert answer.status_code == 403
        else:
            assert without_times(answer) == without_times(theirs), call
            seen += 1
    assert seen > 15
    assert [
        entry.action for entry in rows(database, "SELECT action FROM dispatcher.audit WHERE actor_kind = 'api_key'")
    ] == ["webhook.secrets_shown"] * 2


def test_it_changes_nothing(api: Api, observer: str, there: dict[str, object]) -> None:
    refused = 0
    for call in NATIVE:
        if call.method not in {"GET", "HEAD"} and call.path not in {TOKENS, "/contact"}:
            answer = api.call(call.method, call.at(there, ID), token=observer)
            assert (answer.status_code, answer.json()["detail"][:37]) == (
                403,
                "the API key does not have the scope `",
            ), call
            refused += 1
    assert refused > 20


def test_a_token_of_it_may_no_more_than_it(api: Api, observer: str, there: dict[str, object]) -> None:
    identifier, _, secret = observer.partition(".")
    form = {"grant_type": "client_credentials", "client_id": identifier, "client_secret": secret}
    token = api.call("POST", TOKENS, data=form).json()
    assert token["scope"] == "observe"
    assert api.call("GET", "/v1/accounts", token=token["access_token"]).ok
    assert api.call("GET", SECRETS.format(**there), token=token["access_token"]).status_code == 403


def test_a_key_of_an_account_sees_none_of_what_operators_see(api: Api, make_key: MakeKey) -> None:
    token = make_key("acme", Scope.READ, Scope.SEND, Scope.MANAGE)
    for path in ("/v1/accounts", "/v1/accounts/acme", "/v1/accounts/acme/limits", "/v1/keys", "/v1/audit"):
        assert api.call("GET", path, token=token).status_code == 403, path


@pytest.mark.parametrize(
    ("account", "scopes"),
    [
        (None, [Scope.READ]),
        (None, [Scope.OBSERVE, Scope.SEND]),
        (None, [Scope.OBSERVE, Scope.MANAGE]),
        ("acme", [Scope.OBSERVE]),
        ("acme", [Scope.OBSERVE, Scope.READ]),
        ("acme", [Scope.OPERATOR]),
    ],
)
def test_no_key_has_it_together_with_what_an_account_may(
    database: Engine, account: str | None, scopes: list[Scope]
) -> None:
    make_account(database)
    with Session(database) as session, session.begin(), pytest.raises(InvalidAccount, match="scopes must"):
        create_key(session, by=TESTER, account=account, scopes=scopes)
