"""`POST /oauth2/token`, and what its tokens open, until when."""

import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.installation import Installation
from dispatcher.web import known_callers
from tests.factories import change, make_account, rows
from tests.integration.api.conftest import Api, MakeKey

EVENT = {"type": "message.sent", "data": 1}
GRANT = {"grant_type": "client_credentials"}


def ask(api: Api, form: Any = None, **arguments: Any) -> requests.Response:
    return requests.post(f"{api.origin}/oauth2/token", data=GRANT if form is None else form, timeout=30, **arguments)


def parts(token: str) -> tuple[str, str]:
    identifier, _, secret = token.partition(".")
    return identifier, secret


def at_end(installation: Installation, token: str, **shift: float) -> str:
    """A token of the same key that ended so long ago."""
    key = UUID(parts(token)[0])
    return installation.token_mint.access_token(key, datetime.now(UTC) - timedelta(**shift))


def test_a_key_gets_a_token_by_basic_and_by_its_form(api: Api, make_key: MakeKey) -> None:
    token = make_key("acme", Scope.SEND, Scope.READ)
    identifier, secret = parts(token)
    for answer in (
        ask(api, auth=(identifier, secret)),
        ask(api, auth=(str(UUID(identifier)), secret)),
        ask(api, {**GRANT, "client_id": identifier, "client_secret": secret, "scope": "anything"}),
    ):
        document = answer.json()
        assert answer.status_code == 200
        assert list(document) == ["access_token", "expires_in", "scope", "token_type"]
        assert (document["expires_in"], document["scope"], document["token_type"]) == (3600, "read send", "bearer")
        assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
        assert secret not in answer.text
        assert api.post_event(EVENT, token=document["access_token"]).status_code == 202


def test_a_token_may_do_what_its_key_may_and_no_more(api: Api, make_key: MakeKey) -> None:
    granted = ask(api, auth=parts(make_key("acme", Scope.READ))).json()
    assert granted["scope"] == "read"
    assert api.post_event(EVENT, token=granted["access_token"]).status_code == 403
    assert api.get("/v1/events", headers={"Authorization": f"Bearer {granted['access_token']}"}).status_code == 200


def test_a_token_never_outlives_its_key(api: Api, make_key: MakeKey, database: Engine) -> None:
    answer = ask(api, auth=parts(make_key("acme", valid_for=timedelta(minutes=5))))
    assert 290 <= answer.json()["expires_in"] <= 300
    token = answer.json()["access_token"]
    change(database, "UPDATE dispatcher.api_keys SET expires_at = now()")
    refused = api.post_event(EVENT, token=token)
    assert (refused.status_code, "expired" in refused.headers["WWW-Authenticate"]) == (401, False)


def test_a_token_just_issued_has_not_expired_before_its_key(
    api: Api, make_key: MakeKey, database: Engine, installation: Installation
) -> None:
    key = make_key()
    change(
        database, "UPDATE dispatcher.api_keys SET expires_at = date_trunc('second', now()) + interval '10.5 seconds'"
    )
    claims = installation.token_mint.read(ask(api, auth=parts(key)).json()["access_token"])
    (row,) = rows(database, "SELECT expires_at FROM dispatcher.api_keys")
    assert claims is not None
    assert claims.until is not None
    assert row.expires_at < claims.until <= row.expires_at + timedelta(seconds=1)


def test_only_a_token_whose_time_is_over_is_reported_as_expired(
    api: Api, make_key: MakeKey, database: Engine, installation: Installation
) -> None:
    key, revoked = make_key(), make_key()
    old = at_end(installation, key, seconds=1)
    answer = api.post_event(EVENT, token=old)
    assert answer.status_code == 401
    assert (
        'Bearer realm="dispatcher", error="invalid_token", error_description="the access token has expired"'
        in (answer.headers["WWW-Authenticate"])
    )
    assert rows(database, "SELECT 1 FROM dispatcher.api_keys WHERE last_used_at IS NOT NULL") == []
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now() WHERE id = :id", id=UUID(parts(revoked)[0]))
    for other in (
        f"{old}0",
        old[:-1] + ("1" if old[-1] == "0" else "0"),
        at_end(installation, revoked, days=1),
        "at.x.1.y",
        "at.",
    ):
        refused = api.post_event(EVENT, token=other)
        assert (refused.status_code, "expired" in str(refused.headers) + refused.text) == (401, False)


def test_a_revoked_keys_token_opens_nothing(api: Api, make_key: MakeKey, database: Engine) -> None:
    key = make_key()
    token = ask(api, auth=parts(key)).json()["access_token"]
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now()")
    assert api.post_event(EVENT, token=token).status_code == 401
    assert ask(api, auth=parts(key)).status_code == 401


def test_without_a_valid_key_there_is_no_token_and_nothing_shown(api: Api, make_key: MakeKey, database: Engine) -> None:
    key, expired, revoked = make_key(), make_key(), make_key()
    identifier, secret = parts(key)
    token = ask(api, auth=parts(key)).json()["access_token"]
    change(database, "UPDATE dispatcher.api_keys SET expires_at = now() WHERE id = :id", id=UUID(parts(expired)[0]))
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now() WHERE id = :id", id=UUID(parts(revoked)[0]))
    no_secret = f"Basic {b64encode(identifier.encode()).decode()}"
    answers = [
        ask(api),
        ask(api, {**GRANT, "client_id": identifier}),
        ask(api, {**GRANT, "client_secret": secret}),
        ask(api, {**GRANT, "client_id": identifier, "client_secret": "wrong"}),
        ask(api, {**GRANT, "client_id": "at", "client_secret": token.removeprefix("at.")}),
        *(ask(api, auth=shown) for shown in (parts(expired), parts(revoked), (identifier, "x"), (secret, identifier))),
        *(
            ask(api, headers={"Authorization": value})
            for value in (
                "",
                "Basic",
                "Basic !",
                f"Bearer {key}",
                f"Bearer {token}",
                no_secret,
            )
        ),
    ]
    assert {(answer.status_code, answer.json()["error"]) for answer in answers} == {(401, "invalid_client")}
    assert len({answer.content for answer in answers}) == 1
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {'Basic realm="dispatcher"'}
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ["client_credentials", "client_credentials"]}, "invalid_request"),
        ({**GRANT, "client_id": "a", "client_secret": "b"}, "invalid_request"),
        (b"grant_type=client_credentials&x=%ff", "invalid_request"),
        (b"grant_type=client_credentials&x=\xff", "invalid_request"),
        ("&".join(["grant_type=client_credentials", *(f"f{number}=1" for number in range(20))]), "invalid_request"),
    ],
)
def test_a_request_that_is_refused_says_why(api: Api, token: str, form: Any, error: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = ask(api, form, auth=parts(token), headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["Cache-Control"] == "no-store"


def test_only_a_form_is_read(api: Api, token: str) -> None:
    for content_type in ("application/json", ""):
        answer = ask(api, b"{}", auth=parts(token), headers={"Content-Type": content_type})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    charset = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    assert ask(api, auth=parts(token), headers=charset).status_code == 200


def test_a_token_is_for_the_account_of_its_key(api: Api, make_key: MakeKey, database: Engine) -> None:
    make_account(database, "other")
    token = ask(api, auth=parts(make_key("acme"))).json()["access_token"]
    assert api.post_event({**EVENT, "account": "other"}, token=token).status_code == 403
    operators = ask(api, auth=parts(make_key(None, Scope.OPERATOR))).json()
    assert operators["scope"] == "operator"
    assert api.post_event({**EVENT, "account": "other"}, token=operators["access_token"]).status_code == 202


def test_the_use_of_a_key_is_noted_to_the_minute(
    api: Api, token: str, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_callers, "KEPT_SECONDS", 0.0)

    def used() -> datetime | None:
        (key,) = rows(database, "SELECT last_used_at FROM dispatcher.api_keys")
        noted: datetime | None = key.last_used_at
        return noted

    api.post_event(EVENT, token=f"{parts(token)[0]}.wrong")
    assert used() is None
    ask(api, auth=parts(token))
    first = used()
    assert first is not None
    assert abs(first.timestamp() - time.time()) < 30
    api.post_event(EVENT, token=token)
    assert used() == first
    change(database, "UPDATE dispatcher.api_keys SET last_used_at = last_used_at - interval '61 seconds'")
    api.post_event(EVENT, auth=parts(token))
    later = used()
    assert later is not None
    assert later >= first
