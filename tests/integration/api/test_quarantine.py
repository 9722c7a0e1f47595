"""What this version cannot read is shown as such, among all others, and can be released."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.settings import Settings
from tests.factories import change, deliver_all, make_quarantined_notice, make_webhook
from tests.integration.api.conftest import Api, MakeKey
from tests.integration.workers.test_quarantine import NEWER, UNREADABLE_CONTRACTS, UNREADABLE_SECRETS, put
from tests.receiver import Receiver

LIST = "/v1/webhooks?limit=100"


def only(api: Api, token: str, path: str) -> dict[str, Any]:
    answer = api.call("GET", path, token=token)
    assert answer.status_code == 200, answer.text
    (item,) = answer.json()["items"]
    found: dict[str, Any] = item
    return found


def test_a_list_shows_each_webhook_whatever_its_row_holds(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    good = make_webhook(database, settings, url="https://example.com/good")
    odd: list[dict[str, Any]] = [{"contract": json.dumps(document)} for document in UNREADABLE_CONTRACTS]
    odd += [{"secrets": document} for document in UNREADABLE_SECRETS if document]
    odd += [{"secrets_ciphertext": b"x"}, {"format": NEWER}]
    for columns in odd:
        put(database, settings, make_webhook(database, settings, url="https://example.com/odd").id, **columns)
    answer = api.call("GET", LIST, token=manager)
    assert answer.status_code == 200
    shown = {item["id"]: item for item in answer.json()["items"]}
    assert len(shown) == 1 + len(odd)
    assert (shown[str(good.id)]["unreadable"], shown[str(good.id)]["contract"]["schedule"]) == (None, "default")
    unreadable = [item for item in shown.values() if item["unreadable"]]
    assert len(unreadable) >= len(odd) - 3, "what no header can carry is seen by workers only"
    assert all(item["contract"] is None and item["signing_keys"] == [] for item in unreadable)
    assert "planted-secret" not in json.dumps(unreadable), "names of headers are no secrets"
    for item in unreadable:
        assert api.call("GET", f"/v1/webhooks/{item['id']}", token=manager).json()["unreadable"] == item["unreadable"]
        assert api.call("GET", f"/v1/webhooks/{item['id']}/health", token=manager).json()["unreadable"]


def test_a_quarantined_webhook_is_shown_and_released(
    api: Api, manager: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/good"), event_types=["other"])
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    put(database, settings, webhook.id, contract='{"schedule": "fortnightly"}')
    enqueue("message.sent", 1, account="acme")
    deliver_all(settings)
    path = f"/v1/webhooks/{webhook.id}"
    why = "contract.schedule must be one of: default, doubling, hour"
    for shown in (
        only(api, manager, "/v1/webhooks?quarantined=true"),
        api.call("GET", path, token=manager).json(),
        api.call("GET", f"{path}/health", token=manager).json(),
    ):
        assert shown["quarantined_reason"] == why
        assert shown["quarantined_at"] is not None
    tested = api.call("POST", f"{path}/test", token=manager)
    assert (tested.status_code, tested.json()["detail"]) == (409, f"the webhook is quarantined: {why}")

    change(database, "UPDATE dispatcher.webhooks SET contract = '{}'")
    released = api.call("POST", f"{path}/release", token=manager)
    assert (released.status_code, released.json()["quarantined_at"]) == (200, None)
    assert deliver_all(settings)["delivered"] == 1
    assert api.call("POST", f"{path}/release", token=manager).status_code == 200, "there is nothing more to release"


def test_a_webhook_of_a_newer_format_can_be_switched_and_deleted_but_not_changed(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    put(database, settings, webhook.id, format=NEWER)
    path = f"/v1/webhooks/{webhook.id}"
    for changes in ({"contract": {"timeout_seconds": 5}}, {"name": "other"}, {"headers": {"X-A": "b"}}):
        refused = api.call("PATCH", path, {**changes, "skip_url_verification": False}, token=manager)
        assert (refused.status_code, "newer version" in refused.json()["detail"]) == (409, True), changes
    assert api.call("POST", f"{path}/disable", {}, token=manager).json()["enabled"] is False
    assert api.call("DELETE", path, token=manager).status_code == 204


def test_a_dialects_list_goes_on_without_what_cannot_be_read(
    api: Api, manager: str, database: Engine, settings: Settings
) -> None:
    key = tuple(manager.split("."))

    def listed() -> list[Any]:
        answer = api.get("/flexengage/v1/acme/webhooks", auth=key)
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()
        return found

    rows = [make_webhook(database, settings, url=f"https://example.com/{number}") for number in range(2)]
    change(database, "UPDATE dispatcher.webhooks SET dialect = 'flexengage', name = id::text")
    before = listed()
    put(database, settings, rows[0].id, contract="[]")
    assert len(listed()) == len(before) - 1


@pytest.mark.parametrize("kind", ["message_retrying", "carrier_pigeon"])
def test_a_quarantined_notice_is_shown_and_released(
    api: Api, manager: str, database: Engine, settings: Settings, kind: str
) -> None:
    make_webhook(database, settings, url="https://example.com/")
    notice = make_quarantined_notice(database)
    change(database, "UPDATE dispatcher.notices SET kind = :kind", kind=kind)
    shown = only(api, manager, "/v1/notices?quarantined=true")
    assert (shown["id"], shown["kind"], shown["quarantined_reason"]) == (str(notice), kind, "odd")
    assert api.call("GET", "/v1/notices?quarantined=false", token=manager).json()["items"] == []
    released = api.call("POST", f"/v1/notices/{notice}/release", token=manager).json()
    assert (released["quarantined_at"], released["next_mail_at"] is not None) == (None, True)


def test_only_its_owner_releases_a_notice(api: Api, make_key: MakeKey, database: Engine, settings: Settings) -> None:
    others = make_key("globex", Scope.READ, Scope.MANAGE)
    make_webhook(database, settings, url="https://example.com/")
    notice = make_quarantined_notice(database)
    assert api.call("POST", f"/v1/notices/{notice}/release", token=others).status_code == 404
