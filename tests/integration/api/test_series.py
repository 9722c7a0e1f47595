"""`/v1/webhooks/{id}/series` and `/v1/series`: what came of requests, for who may see it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi import routing
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import change_webhook, deliver_all, make_webhook, upkeep_once
from tests.integration.api.conftest import Api, MakeKey, errors
from tests.receiver import Receiver
from tests.requests_made import Made, record
from workers.maintenance import pulses

NOTHING = {"requests": 0, "messages": 0, "outcomes": {}, "answer_times": None}


def ask(api: Api, token: str, path: str, **query: Any) -> dict[str, Any]:
    answer = api.call("GET", f"/v1/{path}", token=token, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def outcomes(found: dict[str, Any]) -> dict[str, int]:
    in_points = sum(point["requests"] for point in found["points"])
    assert in_points == found["total"]["requests"]
    return {outcome: counted["requests"] for outcome, counted in found["total"]["outcomes"].items()}


@pytest.fixture
def webhooks(database: Engine, settings: Settings) -> dict[str, UUID]:
    """Three webhooks of two accounts, with some requests of just now; counting has begun."""
    made = {name: make_webhook(database, settings, url="https://example.com/", name=name).id for name in ("one", "two")}
    made["other"] = make_webhook(database, settings, url="https://example.com/", account="globex").id
    upkeep_once(settings)
    now = datetime.now(UTC)
    refused = {"verdict": "temporary", "status": None}
    record(
        database,
        [
            *[Made(now, made["one"])] * 3,
            Made(now, made["one"], **refused, failure="dns"),
            Made(now, made["one"], **refused, failure="address_refused"),
            *[Made(now, made["two"])] * 4,
            Made(now, made["other"], verdict="rejected", status=404),
        ],
    )
    return made


def test_real_requests_are_in_it_at_once_and_no_others_when_upkeep_has_counted_them(
    api: Api,
    make_key: MakeKey,
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = make_key("acme", Scope.READ, Scope.SEND)
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    receiver.script("/hook", Answer(200), Answer(404), Answer(500))
    upkeep_once(settings)
    for number in range(3):
        assert api.post_event({"type": "a", "data": number}, token=key).status_code == 202
        deliver_all(settings)
    expected = {"ok": 1, "rejected:http_404": 1, "temporary:http_500": 1}
    before = ask(api, key, f"webhooks/{webhook.id}/series", step="5m")
    assert outcomes(before) == expected
    assert before["total"]["answer_times"]["answers"] == 3
    monkeypatch.setattr(pulses, "_FOLD", pulses._FOLD._replace(after=timedelta(seconds=-1)))
    assert upkeep_once(settings)["requests_folded"] == 3
    after = ask(api, key, f"webhooks/{webhook.id}/series", step="5m")
    assert after["total"] == before["total"]
    assert after["counted_to"] > before["counted_to"]


def test_an_account_sees_the_sum_of_its_webhooks_and_an_operator_all_or_one_account(
    api: Api, webhooks: dict[str, UUID], manager: str, operator: str
) -> None:
    of_acme = {"ok": 7, "temporary:address_refused": 2}
    assert outcomes(ask(api, manager, "series")) == outcomes(ask(api, manager, "series", account="acme")) == of_acme
    exact = {"ok": 7, "temporary:address_refused": 1, "temporary:dns": 1}
    assert outcomes(ask(api, operator, "series", account="acme")) == exact
    assert outcomes(ask(api, operator, "series")) == exact | {"rejected:http_404": 1}


def test_customers_are_not_told_whether_a_name_exists(
    api: Api, webhooks: dict[str, UUID], manager: str, operator: str
) -> None:
    path = f"webhooks/{webhooks['one']}/series"
    assert outcomes(ask(api, manager, path)) == {"ok": 3, "temporary:address_refused": 2}
    assert outcomes(ask(api, operator, path)) == {"ok": 3, "temporary:address_refused": 1, "temporary:dns": 1}


def test_another_accounts_webhook_is_not_there_and_other_scopes_may_not_look(
    api: Api, webhooks: dict[str, UUID], manager: str, make_key: MakeKey
) -> None:
    assert api.call("GET", f"/v1/webhooks/{webhooks['other']}/series", token=manager).status_code == 404
    assert api.call("GET", "/v1/series", token=manager, params={"account": "globex"}).status_code == 403
    sender = make_key("acme", Scope.SEND)
    for path in (f"/v1/webhooks/{webhooks['one']}/series", "/v1/series"):
        assert api.call("GET", path, token=sender).status_code == 403
        assert api.call("GET", path).status_code == 401


def test_a_deleted_webhook_still_shows_what_it_had(
    api: Api, webhooks: dict[str, UUID], manager: str, database: Engine, settings: Settings
) -> None:
    installed = make_webhook(database, settings, url="https://example.com/", name="gone")
    record(database, [Made(datetime.now(UTC), installed.id)])
    change_webhook(database, settings, installed, "delete")
    assert outcomes(ask(api, manager, f"webhooks/{installed.id}/series")) == {"ok": 1}


def test_its_document_is_bytes_when_the_event_loop_gets_it(
    api: Api, webhooks: dict[UUID, UUID], manager: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_loop, serialize = [], routing.serialize_response

    def note(**given: Any) -> Any:
        in_loop.append(given["field"])
        return serialize(**given)

    monkeypatch.setattr(routing, "serialize_response", note)
    for path in ("series", f"webhooks/{webhooks['one']}/series"):
        ask(api, manager, path)
    assert in_loop == []
    ask(api, manager, "webhooks")
    assert len(in_loop) == 1, "other documents go this way"


def test_before_anything_was_counted_it_says_so(api: Api, operator: str) -> None:
    found = ask(api, operator, "series", step="1h", since=_ago(hours=1.5))
    assert (found["counted_to"], found["total"]) == (None, NOTHING)
    assert [point["requests"] for point in found["points"]] == [0] * len(found["points"])


def _ago(**back: float) -> str:
    return (datetime.now(UTC) - timedelta(**back)).isoformat()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"since": _ago(days=3), "step": "5m"}, "since"),
        ({"since": _ago(days=36), "step": "1h"}, "since"),
        ({"since": _ago(days=402)}, "since"),
        ({"since": _ago(days=-1)}, "since"),
        ({"since": _ago(hours=1), "until": _ago(hours=2)}, "since"),
        ({"until": "0001-01-01T00:00:00Z"}, "since"),
        ({"step": "7m"}, "step"),
        ({"since": _ago(hours=26), "step": "5m"}, "step"),
        ({"since": _ago(days=30), "step": "1h"}, "step"),
    ],
)
def test_times_that_there_are_no_counts_of_are_refused(
    api: Api, manager: str, query: dict[str, str], field: str
) -> None:
    answer = api.call("GET", "/v1/series", token=manager, params=query)
    assert answer.status_code == 422
    assert list(errors(answer)) == [field]
