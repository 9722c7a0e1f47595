"""Everlytic's calls: their answers, their effects, and every error in the vendor's form."""

import json
import logging
import shlex
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from sqlalchemy import Engine, text

from dispatcher.accounts.api_keys import Scope
from dispatcher.dialects.everlytic import routes
from dispatcher.settings import read_settings
from dispatcher.web.middleware import MAX_BODY_BYTES
from tests.dead_ports import refusing_port
from tests.dialects import golden_files
from tests.dialects.everlytic.conftest import PATH, CallerOf, Everlytic, webhook_of
from tests.dialects.shell import shell_with
from tests.factories import change, make_webhook, rows
from tests.integration.api.conftest import Restarted
from tests.waiting import wait_for_a_lock

HERE = Path(__file__).parent
PREFIX = "The payload for the webhook is not in the correct format. "
BASIC = {"auth_type": "basic", "auth_details": {"username": "user", "password": "planted-password"}}


def stored(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.webhooks WHERE deleted_at IS NULL ORDER BY number")


def refused(answer: requests.Response) -> dict[str, list[str]]:
    """Why a payload was refused: field -> texts."""
    assert answer.status_code == 400, answer.text
    document = answer.json()
    assert list(document) == ["status", "data"]
    assert document["status"] == "error"
    told = document["data"]
    assert told.startswith(PREFIX + "{")
    found: dict[str, list[str]] = json.loads(told.removeprefix(PREFIX))
    assert json.dumps(found, separators=(",", ":")) == told.removeprefix(PREFIX)
    return found


def error(answer: requests.Response) -> tuple[int, str]:
    """The status and text of an error that is not about the payload."""
    document = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert list(document) == ["status", "data"]
    assert document["status"] == "error"
    assert not document["data"].startswith(PREFIX)
    return answer.status_code, document["data"]


# Examples


def test_every_example_is_answered_as_it_stands(everlytic: Everlytic, database: Engine) -> None:
    files = sorted((HERE / "golden").glob("*.http"))
    assert len(files) == 13

    def values() -> dict[str, str]:
        """`$id` is the one webhook; its times are from the database."""
        values = {"basic": everlytic.basic, "id": "", "created": "", "updated": ""}
        for row in rows(database, "SELECT id, created_at AS created, updated_at AS updated FROM dispatcher.webhooks"):
            for name in ("created", "updated"):
                moment = getattr(row, name).astimezone(UTC)
                values[name] = moment.strftime("%Y-%m-%dT%H:%M:%S+00:00")
            values["id"] = str(row.id)
        return values

    for file in files:
        before = values()
        answer = golden_files.ask(file, everlytic.origin, before)
        # A deleted webhook is shown as it was; its deletion is a change, maybe in the next second.
        golden_files.check(file, answer, before.copy if "delete" in file.name else values)


@pytest.mark.parametrize("program", ["curl", "stand-in"])
def test_the_pages_curl_command_works_though_it_calls_its_json_a_form(
    everlytic: Everlytic, tmp_path: Path, program: str
) -> None:
    webhook = everlytic.create()
    command = (HERE / "sample.sh").read_text().replace("{{webhook_id}}", webhook["id"])
    command = command.replace("https://{{your_url}}", f"{everlytic.origin}/everlytic").rstrip()
    credentials = shlex.quote(f"Authorization: Basic {everlytic.basic}")
    printed = json.loads(shell_with(program, tmp_path)(f"{command} --header {credentials}"))
    assert printed["status"] == "success"
    assert printed["data"]["webhook"] | {"updated_timestamp": ""} == webhook | {
        "status": "disabled",
        "event_types": ["reply", "bounce"],
        "updated_timestamp": "",
    }


# Webhooks


def test_a_webhook_is_one_of_the_engines_own(everlytic: Everlytic, database: Engine) -> None:
    made = everlytic.create(event_types=["Sent", "FAILED", "bounce", "Reply", "delivered", "sent"], **BASIC)
    (webhook,) = stored(database)
    assert (str(webhook.id), webhook.dialect, webhook.enabled) == (made["id"], "everlytic", True)
    assert webhook.event_types == [
        "message.outbound.sent",
        "message.outbound.failed",
        "message.outbound.bounced",
        "message.inbound.received",
        "message.outbound.delivered",
    ]
    assert made["event_types"] == ["sent", "failed", "bounce", "reply", "delivered"]
    assert webhook.contract == {"envelope": "object"}
    assert b"planted-password" not in bytes(webhook.secrets_ciphertext)


@pytest.mark.parametrize(
    "changes",
    [
        {"event_types": ["sent", "bounce"]},
        {"url": "https://other.example.com/", "verb": "post"},  # with a URL the verb is required
        {"verb": "post"},
        {"auth_details": {"username": "other", "password": "word"}},
        {"auth_type": "basic", "auth_details": {"username": "other", "password": "word"}},
        {"status": "enabled"},
    ],
    ids=", ".join,
)
def test_a_change_of_one_member_leaves_the_others(everlytic: Everlytic, changes: dict[str, Any]) -> None:
    made = everlytic.create(event_types=["reply"], verb="get", status="disabled", **BASIC)
    changed = webhook_of(everlytic.update(made, **changes))
    assert changed == webhook_of(everlytic.call("GET", f"/{made['id']}"))
    assert changed == {**made, **changes, "updated_timestamp": changed["updated_timestamp"]}


def test_what_is_left_out_or_null_stays(everlytic: Everlytic, database: Engine) -> None:
    made = everlytic.create(verb="GET", status="disabled", **BASIC)
    change(database, "UPDATE dispatcher.webhooks SET contract = contract || '{\"timeout_seconds\": 5}'")
    unchanged = webhook_of(everlytic.update(made, url=None, verb=None, event_types=None, status=None, nonsense=1))
    assert unchanged | {"updated_timestamp": made["updated_timestamp"]} == made
    changed = webhook_of(everlytic.update(made, verb="post", status="enabled"))
    assert (changed["verb"], changed["status"], changed["url"]) == ("post", "enabled", made["url"])
    assert stored(database)[0].contract == {"envelope": "object", "timeout_seconds": 5}


def test_what_is_answered_can_be_sent_back(everlytic: Everlytic) -> None:
    for made in (everlytic.create(), everlytic.create(verb="get", **BASIC)):
        again = webhook_of(everlytic.update(made, **made))
        assert again | {"updated_timestamp": made["updated_timestamp"]} == made


def test_authorization_can_be_changed_and_taken_away(everlytic: Everlytic) -> None:
    made = everlytic.create()
    assert (made["auth_type"], made["auth_details"]) == (None, None)
    details = {"username": "other", "password": "word"}
    shown = []
    for members in (BASIC, {"status": "enabled"}, {"auth_details": details}, {"auth_type": None}):
        webhook = webhook_of(everlytic.update(made, **members))
        shown.append((webhook["auth_type"], webhook["auth_details"]))
    assert shown == [("basic", BASIC["auth_details"])] * 2 + [("basic", details), (None, None)]


def test_a_new_webhook_is_enabled_unless_it_says_otherwise(everlytic: Everlytic) -> None:
    assert everlytic.create()["status"] == "enabled"
    assert everlytic.create(status="disabled")["status"] == "disabled"


def test_who_disabled_it_is_kept(everlytic: Everlytic, database: Engine) -> None:
    everlytic.update(everlytic.create(), status="disabled")
    assert stored(database)[0].disabled_by.endswith(" through everlytic")


def test_deleting_answers_what_was_there_and_ends_it(everlytic: Everlytic, database: Engine) -> None:
    made, kept = everlytic.create(**BASIC), everlytic.create()
    deleted = everlytic.call("DELETE", f"/{made['id']}")
    assert webhook_of(deleted) == made
    assert everlytic.call("GET").json() == {"status": "success", "data": {"webhooks": [kept]}}
    assert [str(webhook.id) for webhook in stored(database)] == [kept["id"]]


# Refusals of a payload


@pytest.mark.parametrize(
    ("members", "texts"),
    [
        (
            {"status": "Enabled"},
            {"status": "The selected webhook.status is invalid, status should only be enabled or disabled."},
        ),
        ({"status": []}, {"status": "validation.string"}),
        ({"verb": 1}, {"verb": "validation.string"}),
        ({"verb": "put"}, {"verb": "The selected webhook.verb is invalid, verb should only be POST or GET."}),
        ({"url": {}, "verb": "POST"}, {"url": "validation.string"}),
        ({"url": "https://example.com/"}, {"verb": "The webhook.verb field is required."}),
        ({"url": "https://example.com/", "verb": ""}, {"verb": "The webhook.verb field is required."}),
        (
            {"url": "ftp://example.com/", "verb": "POST"},
            {"url": "The webhook.url must begin with http:// or https://."},
        ),
        ({"url": "", "verb": "POST"}, {"url": "The webhook.url must have 1 to 2048 characters."}),
        ({"event_types": []}, {"event_types": "The webhook.event types field is required."}),
        ({"event_types": "sent"}, {"event_types": "validation.array"}),
        ({"event_types": {"0": "sent"}}, {"event_types": "validation.array"}),
        (
            {"event_types": ["test", 1, None, [], {}]},
            {
                "event_types": "The selected webhook.event types is invalid, event types should only be "
                "sent, failed, bounce, reply or delivered."
            },
        ),
        (
            {"auth_type": "digest"},
            {"auth_type": "The selected webhook.auth type is invalid, auth type should only be basic."},
        ),
        ({"auth_type": True}, {"auth_type": "validation.string"}),
        (
            {"auth_type": "basic", "auth_details": {}},
            {"auth_details": "The webhook.auth details field is required when webhook.auth type is basic."},
        ),
        ({"auth_type": "basic", "auth_details": "a:b"}, {"auth_details": "validation.array"}),
        (
            {"auth_type": "basic", "auth_details": ["user"]},
            {
                f"auth_details.{name}": f"The webhook.auth details.{name} field is required when "
                "webhook.auth type is basic."
                for name in ("username", "password")
            },
        ),
        (
            {"auth_type": "basic", "auth_details": {"username": "", "password": 1}},
            {
                "auth_details.username": "The webhook.auth details.username field is required when "
                "webhook.auth type is basic.",
                "auth_details.password": "validation.string",
            },
        ),
        (
            {"auth_type": "basic", "auth_details": {"username": "a:b", "password": "c"}},
            {"auth_details.username": "The webhook.auth details.username must not be empty or contain a colon."},
        ),
        (
            {"auth_details": BASIC["auth_details"]},
            {"auth_type": "The webhook.auth type field is required when webhook.auth details is present."},
        ),
    ],
)
def test_what_is_refused_is_reported_by_field(
    everlytic: Everlytic, database: Engine, members: dict[str, Any], texts: dict[str, str]
) -> None:
    made = everlytic.create()
    before = stored(database)
    assert refused(everlytic.update(made, **members)) == {f"webhook.{name}": [told] for name, told in texts.items()}
    assert stored(database) == before


def test_credentials_do_not_come_with_the_word_that_there_are_none(everlytic: Everlytic) -> None:
    made = everlytic.create(**BASIC)
    told = refused(everlytic.update(made, auth_type=None, auth_details={"username": "a", "password": "b"}))
    assert told == {
        "webhook.auth_type": ["The webhook.auth type field is required when webhook.auth details is present."]
    }


def test_all_that_is_wrong_is_reported_at_once_in_the_order_of_the_table(everlytic: Everlytic) -> None:
    wrong = {"status": "on", "auth_type": "basic", "verb": 1, "url": 2, "event_types": 3}
    told = refused(everlytic.update(everlytic.create(), **wrong))
    assert list(told) == [f"webhook.{name}" for name in ("event_types", "url", "verb", "auth_details", "status")]


def test_a_new_webhook_needs_types_url_and_verb(everlytic: Everlytic, database: Engine) -> None:
    told = refused(everlytic.call("POST", json={"webhook": {"status": "enabled"}}))
    assert told == {
        "webhook.event_types": ["The webhook.event types field is required."],
        "webhook.url": ["The webhook.url field is required."],
        "webhook.verb": ["The webhook.verb field is required."],
    }
    assert stored(database) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[1]", b"{}", b'{"webhook":null}', b'{"webhook":{}}', b"[" * 1_000, b"9" * 5000],
)
def test_a_body_without_a_webhook_is_refused(everlytic: Everlytic, body: bytes) -> None:
    made = everlytic.create()
    for method, path in (("PUT", f"/{made['id']}"), ("POST", "")):
        told = refused(everlytic.call(method, path, data=body))
        assert told == {"webhook": ["The webhook field is required."]}


def test_a_webhook_that_is_no_object_is_refused(everlytic: Everlytic) -> None:
    assert refused(everlytic.call("POST", json={"webhook": "x"})) == {"webhook": ["validation.array"]}


def test_an_address_that_may_not_be_called_is_refused(everlytic: Everlytic) -> None:
    given = {"event_types": ["sent"], "verb": "post", "url": "http://10.0.0.1/"}
    (told,) = refused(everlytic.call("POST", json={"webhook": given}))["webhook.url"]
    assert told == "The webhook.url does not lead to a public address."


# Callers


def test_without_valid_credentials_the_answer_is_one_bare_string(
    everlytic: Everlytic, caller_of: CallerOf, database: Engine
) -> None:
    made = everlytic.create()
    identifier, secret = everlytic.key
    expired = caller_of(valid_for=timedelta(days=1))
    change(database, "UPDATE dispatcher.api_keys SET expires_at = now() WHERE id = :id", id=UUID(expired.key[0]))
    for key in ((identifier, secret[:-1]), (uuid4().hex, secret), ("", ""), expired.key):
        for method, path in (("GET", ""), ("POST", ""), ("GET", f"/{made['id']}"), ("PUT", "/x"), ("DELETE", "/x")):
            answer = everlytic.call(method, path, auth=key)
            assert (answer.status_code, answer.content) == (401, b'"Invalid credentials."')
            assert "Basic" in answer.headers["WWW-Authenticate"]


def test_a_key_may_do_what_its_scopes_say(caller_of: CallerOf, everlytic: Everlytic) -> None:
    made = everlytic.create()
    reader, manager = caller_of("acme", Scope.READ), caller_of("acme", Scope.MANAGE)
    assert webhook_of(reader.call("GET", f"/{made['id']}")) == made
    for method, path in (("POST", ""), ("PUT", f"/{made['id']}"), ("DELETE", f"/{made['id']}")):
        assert error(reader.call(method, path))[0] == 403
    assert error(manager.call("GET"))[0] == 403
    assert manager.update(made, status="disabled").status_code == 200


def test_anothers_webhooks_and_those_of_other_interfaces_are_not_there(
    everlytic: Everlytic, caller_of: CallerOf, database: Engine
) -> None:
    made, other = everlytic.create(), caller_of("other")
    native = make_webhook(database, read_settings(), url="https://example.com/")
    assert other.call("GET").json()["data"] == {"webhooks": []}
    assert everlytic.call("GET").json()["data"] == {"webhooks": [made]}
    body = json.dumps({"webhook": {"status": "disabled"}})
    for caller, identifier in ((other, made["id"]), (everlytic, native.id), (everlytic, uuid4()), (everlytic, "abc")):
        for method in ("GET", "PUT", "DELETE"):
            answer = caller.call(method, f"/{identifier}", data=body)
            assert error(answer) == (404, f"there is no webhook '{identifier}'")
    assert [webhook.enabled for webhook in stored(database)] == [True, True]


def test_an_operators_key_says_for_whom_it_acts(everlytic: Everlytic, caller_of: CallerOf) -> None:
    made, operator = everlytic.create(), caller_of(None, Scope.OPERATOR)
    assert operator.call("GET", "?account=acme").json()["data"]["webhooks"] == [made]
    assert webhook_of(operator.call("GET", f"/{made['id']}?account=acme")) == made
    assert error(operator.call("GET")) == (400, "account is required with an operator's key")
    for unknown in ("nobody", "a%00b"):
        assert error(operator.call("GET", f"?account={unknown}")) == (400, "account does not exist")
    assert error(everlytic.call("GET", "?account=other"))[0] == 403
    assert everlytic.call("GET", "?account=acme").status_code == 200


def test_too_many_requests_are_reported_with_the_time_to_wait(
    everlytic: Everlytic, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.setenv("DISPATCHER_API_REQUESTS_PER_MINUTE", "1")
    restarted()
    assert everlytic.call("GET").status_code == 200
    answer = everlytic.call("GET")
    assert error(answer)[0] == 429
    assert int(answer.headers["Retry-After"]) >= 1


# Other errors


def test_what_there_is_not_is_reported_in_the_same_form(everlytic: Everlytic) -> None:
    assert error(requests.get(f"{everlytic.origin}/everlytic/nothing", timeout=30))[0] == 404
    assert error(everlytic.call("GET", "/"))[0] == 404
    assert error(everlytic.call("PATCH"))[0] == 405
    assert error(everlytic.call("POST", data=b" " * (MAX_BODY_BYTES + 1)))[0] == 413


def test_an_outage_of_the_database_is_reported_in_the_same_form(
    everlytic: Everlytic, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://user@127.0.0.1:{refusing_port()}/none")
    restarted()
    answer = everlytic.call("GET")
    assert error(answer)[0] == 503
    assert "Retry-After" in answer.headers


def test_whether_there_are_credentials_is_asked_when_nobody_else_can_change_them(
    everlytic: Everlytic, database: Engine
) -> None:
    webhook = everlytic.create(**BASIC)
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as connection:
            connection.execute(text("SELECT id FROM dispatcher.accounts FOR UPDATE"))
            details = {"username": "other", "password": "planted-password"}
            updating = pool.submit(everlytic.update, webhook, auth_details=details)
            wait_for_a_lock(database)
            connection.execute(text("UPDATE dispatcher.webhooks SET secrets_ciphertext = NULL, version = version + 1"))
        assert list(refused(updating.result(30))) == ["webhook.auth_type"]
    assert webhook_of(everlytic.call("GET", f"/{webhook['id']}"))["auth_details"] is None


@pytest.mark.parametrize("kind", ["Python", "the database"])
def test_a_defect_is_answered_in_the_same_form_and_logged_without_its_text(
    everlytic: Everlytic, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, database: Engine, kind: str
) -> None:
    planted = uuid4().hex  # not in the source, which may be shown

    def fail(*_: Any) -> None:
        if kind == "Python":
            raise RuntimeError(planted)
        with database.connect() as connection:
            connection.execute(text("SELECT CAST(:planted AS integer)"), {"planted": planted})

    monkeypatch.setattr(routes, "_shown", fail)
    everlytic.call("POST", json={"webhook": {"event_types": ["sent"], "url": "https://example.com/", "verb": "GET"}})
    with caplog.at_level(logging.ERROR):
        answer = everlytic.call("GET")
    assert error(answer)[0] == 500
    (logged,) = [record for record in caplog.records if answer.headers["X-Request-Id"] in record.getMessage()]
    assert "in fail" in logged.getMessage()
    assert planted not in answer.text + caplog.text


def test_the_description_is_the_apps_own(everlytic: Everlytic) -> None:
    document = requests.get(f"{everlytic.origin}/everlytic/openapi.json", timeout=30).json()
    path = PATH.removeprefix("/everlytic")
    assert {name: sorted(calls) for name, calls in document["paths"].items()} == {
        path: ["get", "post"],
        f"{path}/{{webhook_id}}": ["delete", "get", "put"],
    }
    assert document["servers"] == [{"url": f"{everlytic.origin}/everlytic"}]
