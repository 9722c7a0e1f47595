"""What requests about webhooks hold: never shown; and how it is described."""

import pytest
from pydantic import ValidationError

from dispatcher.api.webhooks.bodies import ContractChanges, NewWebhook, Rotation, WebhookChanges
from dispatcher.web.bodies import described_body
from dispatcher.webhooks.contract import DeliveryContract

SECRETS = {
    "url": "https://hooks.example.com/planted",
    "event_types": ["*"],
    "headers": {"X-Key": "planted"},
    "signing_key": "planted",
    "body_secret": "planted",
    "nonce_secret": "planted",
}


@pytest.mark.parametrize(
    "authorization",
    [
        {"kind": "basic", "username": "u", "password": "planted"},
        {"kind": "bearer", "token": "planted"},
        {"kind": "client_credentials", "endpoint": "planted", "client_id": "i", "client_secret": "planted"},
    ],
)
def test_no_secret_is_in_what_python_shows_of_a_body(authorization: dict[str, str]) -> None:
    given = {**SECRETS, "authorization": authorization}
    assert "planted" not in repr(NewWebhook.model_validate(given))
    changes = {name: value for name, value in given.items() if name != "signing_key"}
    assert "planted" not in repr(WebhookChanges.model_validate(changes))
    assert "planted" not in repr(Rotation(signing_key="planted"))  # type: ignore[arg-type]
    with pytest.raises(ValidationError) as refused:
        NewWebhook.model_validate({**given, "nope": 1, "body_secret": ["planted"]})
    assert "planted" not in str(refused.value)


def test_each_member_of_a_contract_can_change() -> None:
    assert ContractChanges.model_fields.keys() == DeliveryContract.model_fields.keys()
    nothing = dict.fromkeys(DeliveryContract.model_fields)
    assert ContractChanges.model_validate(nothing).model_dump() == nothing


def test_a_change_is_described_without_defaults() -> None:
    body = described_body(WebhookChanges)["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    members = {**schema["properties"], **schema["$defs"]["ContractChanges"]["properties"]}
    assert [name for name, member in members.items() if "default" in member] == []
    assert not body["required"]
    assert described_body(NewWebhook)["requestBody"]["required"]
