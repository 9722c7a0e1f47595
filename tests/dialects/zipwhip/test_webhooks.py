"""Zipwhip's calls: by GET and POST, query and form, with a session; and every error in the vendor's form."""

import json
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.dialects import frame
from dispatcher.ids import new_id
from dispatcher.installation import Installation
from dispatcher.web.middleware import MAX_BODY_BYTES
from dispatcher.webhooks.registration import register
from tests.dead_ports import refusing_port
from tests.dialects import golden_files
from tests.dialects.shell import shell_with
from tests.dialects.zipwhip.conftest import LogIn, Zipwhip, reason
from tests.factories import TESTER, change, rows
from tests.integration.api.conftest import Restarted

HERE = Path(__file__).parent
URL = "https://hooks.example.com/"
SECRET = "s3cret"


def stored(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.webhooks WHERE deleted_at IS NULL ORDER BY number")


def status_with(zipwhip: Zipwhip, token: str) -> int:
    """What the native API answers to this as a token."""
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{zipwhip.origin}/v1/webhooks", headers=headers, timeout=30).status_code


# Examples


def test_every_example_is_answered_as_it_stands(database: Engine, zipwhip: Zipwhip) -> None:
    def values() -> dict[str, str]:
        """`$one` and `$two` are the webhooks in the order in which they were made."""
        numbers = [str(row.number) for row in rows(database, "SELECT number FROM dispatcher.webhooks ORDER BY number")]
        return {
            "username": zipwhip.username,
            "password": zipwhip.password,
            "session": zipwhip.session,
            **dict(zip(("one", "two"), numbers, strict=False)),
        }

    files = sorted((HERE / "golden").glob("*.http"))
    assert len(files) == 10
    for file in files:
        golden_files.check(file, golden_files.ask(file, zipwhip.origin, values()), values)


@pytest.mark.parametrize("program", ["curl", "stand-in"])
def test_the_commands_of_the_vendors_page_work_and_are_answered_as_it_says(
    database: Engine, zipwhip: Zipwhip, tmp_path: Path, program: str
) -> None:
    page = (HERE / "contract.txt").read_text()
    commands = re.findall(r"^\$ (curl .*?)\n\n", page, re.MULTILINE | re.DOTALL)
    answers = [json.loads(text) for text in re.findall(r'^(\{\n\t"success".*?^\})', page, re.MULTILINE | re.DOTALL)]
    assert (len(commands), len(answers)) == (4, 4)
    shell = shell_with(program, tmp_path)
    for command, answer in zip(commands, answers, strict=True):
        number = next((str(row.number) for row in stored(database)), "")
        # The page's update leaves out what its own table requires.
        missing = f" -d webhookId={number}" if "/update" in command else ""
        ours = (
            (command + missing)
            .replace("https://api.zipwhip.com", f"{zipwhip.origin}/zipwhip")
            .replace("[sessionKey]", zipwhip.session)
            .replace("687557714", number)
        )
        told = shell(ours)
        number = number or str(stored(database)[0].number)
        assert told.strip() == json.dumps(answer, separators=(",", ":")).replace("687557714", number)
    assert stored(database) == []


# Login


def test_a_session_has_the_form_that_clients_know(zipwhip: Zipwhip) -> None:
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9]+", zipwhip.session)
    again = zipwhip.ask("user/login", username=zipwhip.username, password=zipwhip.password)
    assert again.json() == {"success": True, "response": zipwhip.session}


def test_a_session_lasts_as_long_as_its_key(database: Engine, zipwhip: Zipwhip) -> None:
    change(database, "UPDATE dispatcher.api_keys SET created_at = now() - interval '10 years'")
    assert zipwhip.call("webhook/list") == []
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now()")
    assert zipwhip.refused("webhook/list") == "session is not valid"
    refused = zipwhip.ask("user/login", username=zipwhip.username, password=zipwhip.password)
    assert reason(refused) == "username or password is wrong"


def test_a_session_opens_nothing_but_this_dialect(zipwhip: Zipwhip) -> None:
    assert zipwhip.call("webhook/list") == []
    assert status_with(zipwhip, zipwhip.session) == 401


def test_only_a_keys_own_secret_gets_a_session(zipwhip: Zipwhip, installation: Installation) -> None:
    """An access token must not be accepted either: its session would outlive it."""
    digest, _, number = zipwhip.session.partition(":")
    access_token = installation.token_mint.access_token(UUID(zipwhip.username), datetime.now(UTC) + timedelta(hours=1))
    assert status_with(zipwhip, access_token) == 200
    pairs = [
        (zipwhip.username, "wrong"),
        ("nobody", zipwhip.password),
        ("at", access_token.removeprefix("at.")),
        (digest, number),
        (zipwhip.username, f"{zipwhip.password}."),
    ]
    for username, password in pairs:
        refused = zipwhip.ask("user/login", username=username, password=password)
        assert reason(refused) == "username or password is wrong"
    assert reason(zipwhip.ask("user/login", username="x")) == "password is required"


# Webhooks


@pytest.mark.parametrize(
    ("kind", "event", "types"),
    [
        ("message", "send", ["message.outbound.sent"]),
        ("message", "receive", ["message.inbound.received"]),
        (
            "message",
            "progress",
            [f"message.outbound.{name}" for name in ("progress", "delivered", "failed", "bounced")],
        ),
        ("message", "read", ["message.inbound.read"]),
        ("Message", "Delete", ["message.outbound.deleted", "message.inbound.deleted"]),
        ("optout", "change", ["optout.change"]),
    ],
)
def test_each_event_stands_for_event_types_of_ours(
    database: Engine, zipwhip: Zipwhip, kind: str, event: str, types: list[str]
) -> None:
    made = zipwhip.add(type=kind, event=event)
    (webhook,) = stored(database)
    assert (webhook.dialect, webhook.event_types) == ("zipwhip", types)
    assert made == {
        "webhookId": webhook.number,
        "type": kind.lower(),
        "event": event.lower(),
        "url": URL,
        "method": "POST",
    }
    assert zipwhip.call("webhook/list") == [made]


def test_every_call_works_by_get_and_post_with_query_and_form(zipwhip: Zipwhip) -> None:
    base = f"{zipwhip.origin}/zipwhip"
    given = {"session": zipwhip.session, "type": "message", "event": "send", "url": URL, "method": "put"}
    one, *rest = given.items()
    answers = [
        requests.get(f"{base}/webhook/add", params=given, timeout=30),
        requests.post(f"{base}/webhook/add", params=given, timeout=30),
        requests.get(f"{base}/webhook/add", data=given, timeout=30),
        requests.post(f"{base}/webhook/add", data=given, timeout=30),
        requests.post(f"{base}/webhook/add", params=[one], data=dict(rest), timeout=30),
        requests.post(f"{base}/webhook/add", params={"event": "read"}, data=given, timeout=30),
        requests.post(
            f"{base}/webhook/add", data="&".join("=".join(pair) for pair in given.items()).encode(), timeout=30
        ),
    ]
    made = [answer.json()["response"][0] for answer in answers]
    assert {(webhook["event"], webhook["url"], webhook["method"]) for webhook in made} == {("send", URL, "PUT")}
    ask = {"session": zipwhip.session, "webhookId": str(made[0]["webhookId"])}
    changed = requests.get(f"{base}/webhook/update", params=ask | {"method": "GET"}, timeout=30).json()
    assert changed == {"success": True, "response": [made[0] | {"method": "GET"}]}
    assert requests.get(f"{base}/webhook/delete", params=ask, timeout=30).json() == {"success": True, "response": []}
    assert zipwhip.call("webhook/list") == made[1:]


@pytest.mark.parametrize("changes", [{}, {"url": "https://other.example.com/"}, {"method": "GET"}], ids=", ".join)
def test_an_update_leaves_what_is_left_out_or_empty(zipwhip: Zipwhip, changes: dict[str, str]) -> None:
    made = zipwhip.add(type="optout", event="change", method="PUT")
    for empty in ({}, {"url": "", "method": "", "type": "message", "event": "send"}):
        assert zipwhip.call("webhook/update", webhookId=made["webhookId"], **{**empty, **changes}) == [made | changes]
        assert zipwhip.call("webhook/list") == [made | changes]


def test_an_update_changes_what_is_given(zipwhip: Zipwhip, database: Engine) -> None:
    made = zipwhip.add(method="PUT")
    change(database, """UPDATE dispatcher.webhooks SET contract = contract || '{"rate_limit": 5.0}'""")
    identifier = made["webhookId"]
    assert zipwhip.call("webhook/update", webhookId=identifier) == [made]
    moved = made | {"url": "http://hooks.example.com:8080/r?a=1&b=%20"}
    assert zipwhip.call("webhook/update", webhookId=identifier, url=moved["url"]) == [moved]
    assert zipwhip.call("webhook/update", webhookId=identifier, method="GET") == [moved | {"method": "GET"}]
    assert stored(database)[0].contract["rate_limit"] == 5.0


def test_one_url_can_take_several_events(zipwhip: Zipwhip) -> None:
    made = [zipwhip.add(event=event) for event in ("receive", "receive", "send")]
    assert zipwhip.call("webhook/list") == made


def test_a_deleted_webhook_is_gone(zipwhip: Zipwhip) -> None:
    made = zipwhip.add()
    assert zipwhip.call("webhook/delete", webhookId=made["webhookId"]) == []
    assert zipwhip.call("webhook/list") == []
    for path in ("webhook/delete", "webhook/update"):
        assert zipwhip.refused(path, webhookId=made["webhookId"]) == f"there is no webhook '{made['webhookId']}'"


# What is refused


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"type": ""}, "type is required"),
        ({"event": ""}, "event is required"),
        ({"url": ""}, "url is required"),
        ({"type": "call"}, "type must be message or optout"),
        ({"event": "arrive"}, "event must be one of these, for the type message: delete, progress, read, receive, "),
        ({"type": "optout"}, "event must be one of these, for the type optout: change"),
        ({"method": "PATCH"}, "method must be POST, PUT or GET"),
        ({"url": "ftp://example.com/"}, "url must begin with http:// or https://"),
        ({"url": "http://169.254.169.254/s3cret"}, "url does not lead to a public address"),
    ],
)
def test_what_does_not_fit_is_no_success(
    database: Engine, zipwhip: Zipwhip, parameters: dict[str, str], told: str
) -> None:
    given = {"type": "message", "event": "send", "url": URL, **parameters}
    said = zipwhip.refused("webhook/add", **given)
    assert said.startswith(told)
    assert "s3cret" not in said
    assert stored(database) == []


@pytest.mark.parametrize("identifier", ["999", "abc", "1.0", "-1", "٣", "9" * 5000, "1\0"])
def test_an_id_that_is_none_of_ones_own_does_not_exist(zipwhip: Zipwhip, identifier: str) -> None:
    made = zipwhip.add()
    for path in ("webhook/delete", "webhook/update"):
        assert zipwhip.refused(path, webhookId=identifier).startswith("there is no webhook ")
        assert zipwhip.refused(path) == "webhookId is required"
    assert zipwhip.call("webhook/list") == [made]


def test_webhooks_of_another_account_or_dialect_do_not_exist(
    database: Engine, zipwhip: Zipwhip, log_in: LogIn, installation: Installation
) -> None:
    made, stranger = zipwhip.add(), log_in("stranger")
    account = rows(database, "SELECT id FROM dispatcher.accounts WHERE name = 'acme'")[0].id
    native = register(installation, account, by=TESTER, url=URL, event_types=["*"])
    assert stranger.call("webhook/list") == []
    assert zipwhip.call("webhook/list") == [made]
    for caller, number in ((stranger, made["webhookId"]), (zipwhip, native.webhook.number)):
        for path in ("webhook/update", "webhook/delete"):
            assert caller.refused(path, webhookId=number, method="GET") == f"there is no webhook '{number}'"
    assert len(stored(database)) == 2


def test_without_a_valid_session_nothing_is_shown(
    database: Engine, zipwhip: Zipwhip, log_in: LogIn, installation: Installation
) -> None:
    made = zipwhip.add()
    expired = log_in("acme", valid_for=timedelta(hours=1)).session
    change(database, "UPDATE dispatcher.api_keys SET expires_at = now() WHERE expires_at IS NOT NULL")
    digest, _, number = zipwhip.session.partition(":")
    forged = [f"{digest}:{new_id().int}", f"{digest}:{int(number) + 1}", digest, "x:y", "é:1", "\0:1", number]
    # Neither a key's token nor an access token of the same key is a session.
    token = installation.token_mint.access_token(UUID(zipwhip.username), datetime.now(UTC) + timedelta(hours=1))
    for session in [*forged, expired, f"{zipwhip.username}.{zipwhip.password}", token]:
        for path in ("webhook/list", "webhook/add", "webhook/update", "webhook/delete"):
            said = zipwhip.refused(path, session=session, webhookId=made["webhookId"])
            assert said == "session is not valid"
    assert zipwhip.refused("webhook/list", session="") == "session is required"
    assert zipwhip.call("webhook/list") == [made]


def test_a_key_needs_the_scope_and_an_account(zipwhip: Zipwhip, log_in: LogIn) -> None:
    made, reader = zipwhip.add(), log_in("acme", Scope.READ)
    assert reader.call("webhook/list") == [made]
    for path in ("webhook/add", "webhook/update", "webhook/delete"):
        said = reader.refused(path, webhookId=made["webhookId"])
        assert said == "the API key of this session does not have the scope `manage`"
    assert "`read`" in log_in("acme", Scope.MANAGE).refused("webhook/list")
    assert "an account's own API key" in log_in(None, Scope.OPERATOR).refused("webhook/list")


# Errors outside the calls


def test_what_http_refuses_has_the_vendors_form_and_its_own_status(zipwhip: Zipwhip) -> None:
    url = f"{zipwhip.origin}/zipwhip/webhook/list"
    assert reason(requests.put(url, timeout=30), 405)
    assert reason(requests.get(f"{url}/", timeout=30), 404)
    assert reason(requests.get(f"{zipwhip.origin}/zipwhip/webhook", timeout=30), 404)
    assert reason(requests.post(url, data=b"x" * (MAX_BODY_BYTES + 1), timeout=30), 413)
    assert reason(requests.post(url, data=b"x=1&" * 200, timeout=30)) == "there are more than 100 parameters"


@pytest.mark.parametrize("body", [b"\xff", b"{", b"--x\r\n", b"%", b"session=%00", b"&&==&;"])
def test_a_body_that_is_no_form_gives_no_parameters(zipwhip: Zipwhip, body: bytes) -> None:
    said = reason(requests.post(f"{zipwhip.origin}/zipwhip/webhook/list", data=body, timeout=30))
    assert said in {"session is required", "session is not valid"}


def test_too_many_requests_are_reported_with_the_time_to_wait(
    zipwhip: Zipwhip, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.setenv("DISPATCHER_API_REQUESTS_PER_MINUTE", "1")
    restarted()
    zipwhip.ask("webhook/list", session=zipwhip.session)
    for second in (
        zipwhip.ask("webhook/list", session=zipwhip.session),
        zipwhip.ask("user/login", username=zipwhip.username, password=zipwhip.password),
    ):
        assert reason(second, 429)
        assert int(second.headers["Retry-After"]) >= 1


def test_a_database_that_is_away_is_reported(
    zipwhip: Zipwhip, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:s3cret@127.0.0.1:{refusing_port()}/d")
    restarted()
    answer = zipwhip.ask("webhook/list", session=zipwhip.session)
    assert "s3cret" not in reason(answer, 503)


def test_a_defect_shows_the_id_of_its_log_line_and_nothing_else(
    zipwhip: Zipwhip, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(frame, "Webhooks", fail)
    with caplog.at_level(logging.ERROR):
        answer = zipwhip.ask("webhook/list", session=zipwhip.session)
    assert SECRET not in reason(answer, 500) + caplog.text
    (line,) = [record for record in caplog.records if record.name == "dispatcher.api.requests"]
    assert answer.headers["X-Request-Id"] in line.getMessage()


def test_the_description_names_every_call_with_both_methods(zipwhip: Zipwhip) -> None:
    document = requests.get(f"{zipwhip.origin}/zipwhip/openapi.json", timeout=30).json()
    assert document["servers"] == [{"url": f"{zipwhip.origin}/zipwhip"}]
    assert {path: sorted(calls) for path, calls in document["paths"].items()} == {
        path: ["get", "post"]
        for path in ("/user/login", "/webhook/add", "/webhook/update", "/webhook/list", "/webhook/delete")
    }
    assert "422" not in str(document["paths"])
