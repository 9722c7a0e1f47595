"""Answers can hold secrets, so none is to be kept on its way, whoever gets it and whatever became of the request.
test_every_answer.py walks all routes."""

import pytest
import requests
from sqlalchemy import Engine

from tests.integration.api.conftest import Api

URL = "https://hooks.example.com/"


def is_not_kept(answer: requests.Response) -> bool:
    return answer.headers.get("Cache-Control") == "no-store"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/v1/webhooks", 405)])
def test_what_no_route_answers_is_not_to_be_kept(api: Api, method: str, path: str, status: int) -> None:
    answer = api.call(method, path)
    assert (answer.status_code, is_not_kept(answer)) == (status, True)


def test_the_answer_to_a_defect_is_not_to_be_kept(api: Api, manager: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("dispatcher.webhooks.store.Webhooks.read")
    answer = api.call("GET", "/v1/webhooks/0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00", token=manager)
    assert (answer.status_code, is_not_kept(answer)) == (500, True)


def test_answers_that_show_secrets_are_not_to_be_kept(
    api: Api, operator: str, manager: str, database: Engine, broker: object
) -> None:
    def call(path: str, body: object = None, token: str = manager, method: str = "POST") -> requests.Response:
        answer = api.call(method, path, body, token=token)
        assert answer.status_code in {200, 201}, answer.text
        return answer

    webhook = call("/v1/webhooks", {"url": URL, "event_types": ["*"], "enabled": False})
    path = f"/v1/webhooks/{webhook.json()['id']}"
    credentials = {"username": "planted-user", "password": "planted-secret"}
    everlytic = {"event_types": ["sent"], "url": URL, "verb": "POST", "auth_type": "basic", "auth_details": credentials}
    sinch = {"app_id": "a", "target": URL, "triggers": ["MESSAGE_INBOUND"], "secret": "planted-secret"}
    key_id, secret = manager.split(".")
    form = f"grant_type=client_credentials&client_id={key_id}&client_secret={secret}".encode()
    form_type = {"Content-Type": "application/x-www-form-urlencoded"}
    shown = {
        "whsec_": [
            webhook,
            call(f"{path}/secrets", method="GET"),
            call(f"{path}/rotate-secret"),
        ],
        "planted-secret": [
            call("/sinch/v1/projects/acme/webhooks", sinch),
            call("/sinch/v1/projects/acme/apps/a/webhooks", method="GET"),
            call("/everlytic/api/2.0/production/sms/webhooks", {"webhook": everlytic}),
            call("/everlytic/api/2.0/production/sms/webhooks", method="GET"),
        ],
        '"token":': [call("/v1/keys", {"account": "acme", "scopes": ["read"]}, operator)],
        '"access_token":': [
            api.call("POST", "/oauth2/token", form, headers=form_type),
            api.call("POST", "/sinch/oauth2/token", form, headers=form_type),
        ],
        '"success":true,"response":"': [
            api.get("/zipwhip/user/login", params={"username": key_id, "password": secret})
        ],
    }
    for what, answers in shown.items():
        for answer in answers:
            assert (what in answer.text, is_not_kept(answer)) == (True, True), answer.url
