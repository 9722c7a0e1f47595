"""Sinch's five calls: exact answers, limits, masks, errors."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher.accounts.api_keys import Scope
from dispatcher.db.models import Webhook
from dispatcher.dialects.sinch.fields import TRIGGERS, changed_fields, event_types
from dispatcher.settings import Settings
from tests.dialects.sinch import published
from tests.dialects.sinch.conftest import PROJECT, Sinch
from tests.factories import change, change_within, make_account, make_webhook, rows
from tests.integration.api.conftest import MakeKey
from tests.waiting import wait_for_a_lock

GOLDEN = Path(__file__).parent / "golden"
INVALID = {"code": 400, "message": "Malformed request", "status": "INVALID_REQUEST", "details": []}


def golden(name: str, **values: str) -> str:
    text = (GOLDEN / name).read_text()
    for placeholder, value in values.items():
        text = text.replace(f"<{placeholder}>", value)
    return text


def pretty(answer: requests.Response) -> str:
    """The members in the order in which they came."""
    return json.dumps(json.loads(answer.text), indent=2) + "\n"


def message(answer: requests.Response, status: int = 400) -> str:
    """The text of an error. Both of its forms are present, and say the same."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    nested = document.pop("error")
    assert nested == document
    assert document["code"] == status
    assert document["details"] == []
    return f"{document['status']}: {document['message']}"


def test_a_webhook_is_answered_with_all_seven_members_secrets_in_clear(sinch: Sinch) -> None:
    given = json.loads(golden("webhook.json"))
    made = sinch.create(**{name: value for name, value in given.items() if name != "id"})
    assert made.status_code == 200
    identifier = made.json()["id"]
    assert pretty(made) == golden("webhook.json", id=identifier)
    assert pretty(sinch.call("GET", f"/webhooks/{identifier}")) == golden("webhook.json", id=identifier)


def test_what_is_not_set_is_there_all_the_same(sinch: Sinch) -> None:
    made = sinch.create(triggers=["MESSAGE_INBOUND", "OPT_IN", "OPT_IN"])
    assert pretty(made) == golden("least.json", id=made.json()["id"])


def test_the_list_is_of_one_app(sinch: Sinch) -> None:
    first, second, _ = (sinch.create(app_id=app).json() for app in ("app1", "app1", "app2"))
    assert sinch.call("GET", "/apps/app1/webhooks").json() == {"webhooks": [first, second]}
    assert sinch.call("GET", "/apps/none/webhooks").json() == {"webhooks": []}
    assert sinch.call("GET", "/apps/%00/webhooks").json() == {"webhooks": []}


def test_deleting_answers_an_empty_object_and_then_there_is_nothing(sinch: Sinch) -> None:
    identifier = sinch.create().json()["id"]
    gone = sinch.call("DELETE", f"/webhooks/{identifier}")
    assert (gone.status_code, gone.text) == (200, "{}")
    for method in ("GET", "DELETE", "PATCH"):
        answer = sinch.call(method, f"/webhooks/{identifier}", json={})
        assert message(answer, 404) == "NOT_FOUND: The requested resource was not found."


@pytest.mark.parametrize("identifier", ["1", "01WXYZ", "%00", "..%2f", str(UUID(int=0))])
def test_an_id_that_never_was_is_not_found(sinch: Sinch, identifier: str) -> None:
    assert message(sinch.call("GET", f"/webhooks/{identifier}"), 404).startswith("NOT_FOUND")


def test_an_app_has_five_webhooks_at_most(sinch: Sinch) -> None:
    made = [sinch.create() for _ in range(5)]
    assert [answer.status_code for answer in made] == [200] * 5
    assert "already has 5 webhooks" in message(sinch.create())
    assert sinch.create(app_id="app2").status_code == 200
    sinch.call("DELETE", f"/webhooks/{made[0].json()['id']}")
    assert sinch.create().status_code == 200


LONG = "https://hooks.example.com/"
CLIENT = {"client_id": "a", "client_secret": "b", "endpoint": LONG}
FULL_CLIENT = {**CLIENT, "scope": "s", "response_type": "r", "token_request_type": "FORM"}


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"app_id": ...}, "app_id is required"),
        ({"app_id": ""}, "app_id is required"),
        ({"app_id": 7}, "app_id must be a string"),
        ({"app_id": "a\nb"}, "app_id must have 1 to 255 printable characters"),
        ({"app_id": "a\0b"}, "app_id must have 1 to 255 printable characters"),
        ({"app_id": "\ud800"}, "app_id must have 1 to 255 printable characters"),
        ({"target": ...}, "target is required"),
        ({"target": "string"}, "target must begin with http:// or https://"),
        ({"target": LONG + "x" * (743 - len(LONG))}, "target must have at most 742 characters"),
        ({"target": "https://conversation-api.eu.sinch.com/x"}, "target must not be an address"),
        ({"target": "https://Conversation-API.sinch.com"}, "target must not be an address"),
        ({"target": "https://ｃonversation-api.eu.sinch.com/"}, "target must not be an address"),
        ({"target": "http://10.0.0.1/"}, "target does not lead to a public address"),
        ({"triggers": ...}, "triggers are required"),
        ({"triggers": []}, "triggers are required"),
        ({"triggers": "OPT_IN"}, "triggers are required"),
        ({"triggers": ["UNSPECIFIED_TRIGGER"]}, "triggers must each be one of"),
        ({"triggers": ["opt_in"]}, "triggers must each be one of"),
        ({"triggers": [["OPT_IN"]]}, "triggers must each be one of"),
        ({"target_type": "FTP"}, "target_type must be HTTP or DISMISS"),
        ({"target_type": []}, "target_type must be HTTP or DISMISS"),
        ({"secret": 5}, "secret must be a string"),
        ({"secret": []}, "secret must be a string"),
        ({"secret": "a\r\nb"}, "secret must have"),
        ({"client_credentials": "x"}, "client_credentials must be an object"),
        ({"client_credentials": {"client_id": "a", "client_secret": "b"}}, "client_credentials.endpoint is required"),
        (
            {"client_credentials": {"client_id": "a", "client_secret": "b", "endpoint": "nowhere"}},
            "client_credentials.endpoint must begin",
        ),
        (
            {"client_credentials": {**CLIENT, "scope": "s" * 1025}},
            "client_credentials.scope must have at most 1024",
        ),
        (
            {
                "client_credentials": {
                    "client_id": "a",
                    "client_secret": "b",
                    "endpoint": LONG,
                    "response_type": "r" * 65,
                }
            },
            "client_credentials.response_type must have at most 64",
        ),
        (
            {"client_credentials": {**CLIENT, "token_request_type": 1}},
            "client_credentials.token_request_type must be BASIC or FORM",
        ),
    ],
)
def test_what_is_wrong_is_said_by_the_members_name_and_nothing_is_made(
    sinch: Sinch, members: dict[str, Any], says: str
) -> None:
    assert message(sinch.create(**members)).startswith(f"INVALID_REQUEST: {says}")
    assert sinch.call("GET", "/apps/app1/webhooks").json() == {"webhooks": []}


def test_a_target_of_742_characters_will_do(sinch: Sinch) -> None:
    target = LONG + "x" * (742 - len(LONG))
    assert sinch.create(target=target).json()["target"] == target


def test_the_limit_of_a_target_counts_what_was_given_and_what_is_answered_can_be_sent_back(sinch: Sinch) -> None:
    target = LONG + "ü" * (742 - len(LONG))
    made = sinch.create(target=target).json()
    assert made["target"] == target
    changed = sinch.call("PATCH", f"/webhooks/{made['id']}", json=made)
    assert (changed.status_code, changed.json()) == (200, made)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"x"', b"[" * 1_000])
def test_a_body_that_is_no_object_is_malformed(sinch: Sinch, body: bytes) -> None:
    answer = sinch.call("POST", "/webhooks", data=body, headers={"Content-Type": "application/json"})
    assert message(answer) == "INVALID_REQUEST: Malformed request"
    assert answer.json() == {**INVALID, "error": INVALID}


# Changes


OTHER = {
    "app_id": "app2",
    "client_credentials": {"client_id": "c", "client_secret": "d", "endpoint": f"{LONG}token"},
    "secret": "t",
    "target": "https://other.example.com/",
    "target_type": "HTTP",
    "triggers": ["OPT_OUT"],
}
# The value of an optional member after a reset.
UNSET = {"client_credentials": None, "secret": "", "target_type": "HTTP"}


@pytest.fixture
def full(sinch: Sinch) -> dict[str, Any]:
    """A webhook whose members all differ from OTHER."""
    made = sinch.create(secret="s", client_credentials=FULL_CLIENT, target_type="DISMISS").json()
    assert made["client_credentials"] == FULL_CLIENT
    return dict(made)


@pytest.mark.parametrize("member", OTHER)
def test_without_a_mask_only_the_members_that_are_given_change(sinch: Sinch, full: dict[str, Any], member: str) -> None:
    given = {member: OTHER[member]}
    changed = sinch.call("PATCH", f"/webhooks/{full['id']}", json=given)
    assert changed.json() == sinch.call("GET", f"/webhooks/{full['id']}").json() == {**full, **given}


@pytest.mark.parametrize("member", OTHER)
def test_with_a_mask_only_the_member_that_it_names_changes(sinch: Sinch, full: dict[str, Any], member: str) -> None:
    changed = sinch.call("PATCH", f"/webhooks/{full['id']}?update_mask=id,{member}", json={"id": "other", **OTHER})
    assert changed.json() == sinch.call("GET", f"/webhooks/{full['id']}").json() == {**full, member: OTHER[member]}


@pytest.mark.parametrize("member", OTHER)
def test_what_the_mask_names_and_the_body_has_not_is_reset(sinch: Sinch, full: dict[str, Any], member: str) -> None:
    sent = {name: value for name, value in OTHER.items() if name != member}
    answer = sinch.call("PATCH", f"/webhooks/{full['id']}?update_mask={member}", json=sent)
    kept = sinch.call("GET", f"/webhooks/{full['id']}").json()
    if member in UNSET:
        assert answer.json() == kept == {**full, member: UNSET[member]}
    else:
        assert message(answer).startswith(f"INVALID_REQUEST: {member} ")
        assert kept == full


@pytest.mark.parametrize(("name", "value"), [*CLIENT.items(), ("scope", "x"), ("response_type", "y")])
def test_a_mask_can_name_single_members_of_the_credentials(
    sinch: Sinch, full: dict[str, Any], name: str, value: str
) -> None:
    path = f"/webhooks/{full['id']}?update_mask=client_credentials.{name}"
    sent = {"client_credentials": {**dict.fromkeys(FULL_CLIENT, "https://not.example.com/"), name: f"{value}2"}}
    changed = sinch.call("PATCH", path, json=sent).json()
    assert changed == {**full, "client_credentials": {**FULL_CLIENT, name: f"{value}2"}}
    reset = sinch.call("PATCH", path, json={"client_credentials": {}})
    if name in CLIENT:
        assert message(reset) == f"INVALID_REQUEST: client_credentials.{name} is required"
    else:
        assert name not in reset.json()["client_credentials"]


def test_a_mask_of_credentials_where_there_are_none_needs_what_they_need(sinch: Sinch) -> None:
    made = sinch.create().json()
    path = f"/webhooks/{made['id']}?update_mask="
    assert sinch.call("PATCH", f"{path}client_credentials.scope", json={}).json() == made
    half = sinch.call("PATCH", f"{path}client_credentials.endpoint", json={"client_credentials": CLIENT})
    assert message(half) == "INVALID_REQUEST: client_credentials.client_id is required"
    mask = ",".join(f"client_credentials.{name}" for name in CLIENT)
    assert sinch.call("PATCH", path + mask, json={"client_credentials": CLIENT}).json() == {
        **made,
        "client_credentials": CLIENT,
    }
    form = {"token_request_type": "FORM"}
    sent = {"client_credentials": form}
    changed = sinch.call("PATCH", f"{path}client_credentials.token_request_type", json=sent).json()
    assert changed["client_credentials"] == {**CLIENT, **form}
    wrong = sinch.call("PATCH", f"{path}client_credentials.scope", json={"client_credentials": "x"})
    assert message(wrong) == "INVALID_REQUEST: client_credentials must be an object"


@pytest.mark.parametrize("path", ["nothing", "secret.x", "client_credentials.password", "client_credentials.", "id.x"])
def test_a_mask_that_names_what_there_is_not_is_refused(sinch: Sinch, full: dict[str, Any], path: str) -> None:
    answer = sinch.call("PATCH", f"/webhooks/{full['id']}?update_mask=target,{path}", json=OTHER)
    assert message(answer) == "INVALID_REQUEST: update_mask names a member that a webhook does not have"
    assert sinch.call("GET", f"/webhooks/{full['id']}").json() == full


@pytest.mark.parametrize("member", OTHER)
def test_an_update_leaves_alone_what_the_dialect_does_not_know(
    sinch: Sinch, database: Engine, full: dict[str, Any], member: str
) -> None:
    change(database, """UPDATE dispatcher.webhooks SET contract = contract || '{"rate_limit": 5.0}'""")
    for sent in ({member: OTHER[member]}, {member: UNSET.get(member, OTHER[member])}):
        assert sinch.call("PATCH", f"/webhooks/{full['id']}", json=sent).status_code == 200
        assert rows(database, "SELECT contract FROM dispatcher.webhooks")[0].contract["rate_limit"] == 5.0


def test_a_webhook_cannot_be_moved_into_an_app_that_is_full(sinch: Sinch) -> None:
    made = [sinch.create().json()["id"] for _ in range(5)]
    other = sinch.create(app_id="app2").json()["id"]
    assert "already has 5 webhooks" in message(sinch.call("PATCH", f"/webhooks/{other}", json={"app_id": "app1"}))
    assert len(sinch.call("GET", "/apps/app1/webhooks").json()["webhooks"]) == 5
    assert sinch.call("PATCH", f"/webhooks/{made[0]}", json={"app_id": "app1"}).status_code == 200
    assert sinch.call("PATCH", f"/webhooks/{made[0]}", json={"app_id": "app2"}).status_code == 200


def test_of_two_changes_at_once_none_is_lost(sinch: Sinch, database: Engine, settings: Settings) -> None:
    made = sinch.create().json()
    with ThreadPoolExecutor(1) as pool:
        with Session(database) as session, session.begin():
            (webhook,) = session.query(Webhook)
            changed = changed_fields({"target_type": "DISMISS"}, webhook)
            change_within(session, settings, webhook.id, changed)
            patch = {"triggers": ["OPT_IN"]}
            changing = pool.submit(sinch.call, "PATCH", f"/webhooks/{made['id']}", json=patch)
            wait_for_a_lock(database)
        assert changing.result(30).json() == {**made, **patch, "target_type": "DISMISS"}
    assert rows(database, "SELECT * FROM dispatcher.subscriptions") == []


def test_a_mask_rules_in_the_query_and_in_the_body(sinch: Sinch) -> None:
    made = sinch.create(secret="s").json()
    path = f"/webhooks/{made['id']}"
    sent = {"target": "https://other.example.com/", "triggers": ["OPT_OUT"], "secret": "t"}
    # As sinch 1.1.4 sends it, and as the JavaScript client does.
    changed = sinch.call("PATCH", path, json={**sent, "app_id": "app1", "update_mask": "target"}).json()
    assert changed == {**made, "target": sent["target"]}
    changed = sinch.call("PATCH", f"{path}?update_mask=triggers,secret", json={**sent, "target": "x"}).json()
    assert changed == {**made, **sent}
    changed = sinch.call("PATCH", f"{path}?update_mask=triggers&update_mask=target", json=made).json()
    assert changed == {**made, "secret": "t"}


# Permissions


def test_without_valid_credentials_there_is_one_answer(sinch: Sinch) -> None:
    for auth in (("", ""), (sinch.key_id, "wrong"), (str(UUID(int=1)), sinch.secret)):
        answer = sinch.call("GET", "/apps/app1/webhooks", auth=auth)
        assert message(answer, 401) == "UNAUTHENTICATED: Request had invalid credentials."
        assert "expired" not in answer.headers["WWW-Authenticate"]
    bare = requests.get(f"{sinch.origin}/v1/projects/{PROJECT}/apps/app1/webhooks", timeout=30)
    assert bare.status_code == 401


def test_another_project_and_an_unknown_one_are_the_same_to_a_stranger(
    sinch: Sinch, database: Engine, make_key: MakeKey
) -> None:
    make_account(database, "other")
    for project in ("other", "nobody", "%00", "a%2Fb"):
        path = f"{sinch.origin}/v1/projects/{project}/apps/app1/webhooks"
        answer = requests.get(path, auth=(sinch.key_id, sinch.secret), timeout=30)
        if "%2F" not in project:
            assert message(answer, 403) == "UNAUTHORIZED: You do not have access to the requested resource."
        operator = make_key(None, Scope.OPERATOR).split(".")
        known = requests.get(path, auth=tuple(operator), timeout=30)
        assert known.status_code == (200 if project == "other" else 404 if "%2F" in project else 403)


def test_a_key_that_may_only_read_changes_nothing(sinch: Sinch, make_key: MakeKey) -> None:
    key_id, secret = make_key(PROJECT, Scope.READ).split(".")
    reader = Sinch(sinch.origin, key_id, secret)
    made = sinch.create().json()
    assert reader.call("GET", f"/webhooks/{made['id']}").json() == made
    for answer in (
        reader.create(),
        reader.call("PATCH", f"/webhooks/{made['id']}", json={}),
        reader.call("DELETE", f"/webhooks/{made['id']}"),
    ):
        assert message(answer, 403).startswith("UNAUTHORIZED")
    assert sinch.call("GET", f"/webhooks/{made['id']}").json() == made


def test_webhooks_that_were_made_elsewhere_are_not_of_this_dialect(
    sinch: Sinch, database: Engine, settings: Any
) -> None:
    native = make_webhook(database, settings, account=PROJECT, url="https://hooks.example.com/", app="app1")
    assert sinch.call("GET", "/apps/app1/webhooks").json() == {"webhooks": []}
    assert message(sinch.call("GET", f"/webhooks/{native.id}"), 404).startswith("NOT_FOUND")


def test_what_is_not_there_has_the_vendors_form_too(sinch: Sinch) -> None:
    assert message(requests.get(f"{sinch.origin}/v1/nothing", timeout=30), 404).startswith("NOT_FOUND")
    assert sinch.call("PUT", "/webhooks", json={}).status_code == 405


# What is stored


def test_each_trigger_takes_the_events_of_the_table(sinch: Sinch, database: Engine) -> None:
    assert event_types(["MESSAGE_INBOUND"], "HTTP") == ["message.inbound.received"]
    assert event_types(["MESSAGE_SUBMIT"], "HTTP") == ["message.outbound.accepted", "message.outbound.sent"]
    assert event_types(["MESSAGE_DELIVERY"], "HTTP") == [
        f"message.outbound.{part}" for part in ("progress", "delivered", "failed", "bounced")
    ]
    assert event_types(["CONTACT_IDENTITIES_DUPLICATION"], "HTTP") == ["conversation.contact_identities_duplication"]
    assert sinch.create(triggers=list(TRIGGERS)).json()["triggers"] == list(TRIGGERS)
    assert len(rows(database, "SELECT * FROM dispatcher.subscriptions")) == len(event_types(TRIGGERS, "HTTP"))


@pytest.mark.parametrize("sdk", sorted(published.TRIGGERS))
def test_every_trigger_that_an_sdk_has_is_taken_and_shown_as_it_was_given(sinch: Sinch, sdk: str) -> None:
    given = sorted(published.TRIGGERS[sdk])
    made = sinch.create(triggers=given)
    assert made.status_code == 200, made.text
    assert made.json()["triggers"] == given


def test_no_trigger_is_taken_that_no_sdk_has() -> None:
    assert set(TRIGGERS) == set().union(*published.TRIGGERS.values())


def test_both_names_of_smart_conversations_take_one_event_type(sinch: Sinch, database: Engine) -> None:
    for given in (["SMART_CONVERSATION"], ["SMART_CONVERSATIONS"], ["SMART_CONVERSATION", "SMART_CONVERSATIONS"]):
        sinch.create(triggers=given)
    taken = rows(database, "SELECT event_type FROM dispatcher.subscriptions")
    assert [row.event_type for row in taken] == ["conversation.smart_conversations"] * 3


def test_a_webhook_that_dismisses_takes_nothing(sinch: Sinch, database: Engine) -> None:
    made = sinch.create(target_type="DISMISS").json()
    assert rows(database, "SELECT * FROM dispatcher.subscriptions") == []
    sinch.call("PATCH", f"/webhooks/{made['id']}", json={"target_type": "HTTP"})
    assert len(rows(database, "SELECT * FROM dispatcher.subscriptions")) == 1


def test_secrets_lie_encrypted(sinch: Sinch, database: Engine) -> None:
    credentials = {"client_id": "planted-id", "client_secret": "planted-secret", "endpoint": f"{LONG}?key=planted"}
    sinch.create(secret="planted-key", client_credentials=credentials, target=f"{LONG}?key=planted")
    assert "planted" not in str(rows(database, "SELECT w::text FROM dispatcher.webhooks w"))
