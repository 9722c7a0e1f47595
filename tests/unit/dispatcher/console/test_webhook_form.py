"""A webhook as the fields of a form."""

import json
from http import HTTPStatus

import pytest

from dispatcher.api.webhooks.bodies import NewWebhook
from dispatcher.console.forms import Form
from dispatcher.console.webhook_form import members_of_form, problems_of, values_of
from dispatcher.errors import InvalidWebhook
from dispatcher.web.problems import Problem
from dispatcher.webhooks.contract import DeliveryContract


def members(**changed: str | None) -> dict[str, object]:
    """The members of a form for a new webhook in which these fields were changed."""
    usual = values_of(None)
    sent = [(name, value) for name, value in (usual | changed).items() if value]
    return {name: json.loads(value) for name, value in members_of_form(Form(sent), usual).items()}


def test_a_form_in_which_nothing_was_changed_changes_nothing() -> None:
    assert members() == {}


def test_every_member_of_a_contract_has_a_field() -> None:
    assert DeliveryContract.model_fields.keys() - values_of(None).keys() == {"client_certificate"}


def test_every_field_of_a_new_webhook_has_a_field() -> None:
    assert NewWebhook.model_fields.keys() - values_of(None).keys() == {"contract"}


def test_fields_become_members_of_the_contract() -> None:
    sent = {
        "timeout_seconds": "12.5",
        "batch_size": "7",
        "retry_alone": "true",
        "circuit_breaker": None,
        "members": "id=event_id\ndata=data",
        "rules": "429=temporary,honour-retry-after",
        "body_signature": "X-Signature,sha1,prefix=sha1=",
        "nonce_signature": "X-Nonce-Signed",
        "schedule": "hour",
    }
    rule = {"verdict": "temporary", "honour_retry_after": True}
    assert members(**sent) == {
        "contract": {
            "timeout_seconds": 12.5,
            "batch_size": 7,
            "retry_alone": True,
            "circuit_breaker": False,
            "members": [["id", "event_id"], ["data", "data"]],
            "rules": {"429": rule},
            "body_signature": {"header": "X-Signature", "digest": "sha1", "prefix": "sha1="},
            "nonce_signature": {"header": "X-Nonce-Signed"},
            "schedule": "hour",
        }
    }


def test_an_emptied_field_restores_the_default() -> None:
    shown = values_of(None) | {"rate_limit": "5", "user_agent": "old", "name": "old"}
    sent = Form([(name, value) for name, value in shown.items() if name not in {"rate_limit", "user_agent", "name"}])
    changed = {name: json.loads(value) for name, value in members_of_form(sent, shown).items()}
    assert changed == {"name": None, "contract": {"rate_limit": None, "user_agent": None}}


def test_only_the_members_of_the_chosen_authorization_are_sent() -> None:
    fields = {"username": "jo", "password": "p", "token": "t", "token_request": "form"}
    basic = {"kind": "basic", "username": "jo", "password": "p"}
    assert members(authorization="basic", **fields) == {"authorization": basic}
    assert members(authorization="bearer", **fields) == {"authorization": {"kind": "bearer", "token": "t"}}
    assert members(authorization="none", **fields) == {"authorization": None}
    assert members(**fields) == {}


def test_a_key_of_the_receiver_stands_in_place_of_a_new_one() -> None:
    assert members(signing="given", signing_key="whsec_x") == {"signing_key": "whsec_x"}
    assert members(signing="none") == {"signing": {"kind": "none"}}


@pytest.mark.parametrize(
    ("field", "value"),
    [("headers", "no colon"), ("rules", "429"), ("members", "id"), ("body_signature", "X-Signature,md5")],
)
def test_what_cannot_be_read_names_its_field(field: str, value: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        members(**{field: value})
    assert refused.value.field.removeprefix("contract.") == field


def test_refusals_stand_at_the_fields_of_the_form() -> None:
    given = [
        ("contract.rules.429.verdict", "is odd"),
        ("authorization.password", "is required"),
        ("authorization", "must have a known kind"),
        ("headers.X-Foo", "must be ASCII"),
        ("signing.kind", "must be one of: hmac"),
        ("contract", "members need the method POST"),
    ]
    problems = problems_of(Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "refused", errors=given))
    assert dict(problems) == {
        "rules": "429.verdict: is odd",
        "password": "is required",
        "authorization": "must have a known kind",
        "headers": "X-Foo: must be ASCII",
        "signing": "must be one of: hmac",
        "": "members need the method POST",
    }
    assert dict(problems_of(Problem(HTTPStatus.CONFLICT, "too late"))) == {"": "too late"}
