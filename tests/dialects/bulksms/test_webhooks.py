"""BulkSMS's calls: their answers, their effects, and every error in the vendor's form."""

import base64
import html
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, text

from dispatcher.accounts.api_keys import Scope
from dispatcher.dialects import frame
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from dispatcher.web.middleware import MAX_BODY_BYTES
from dispatcher.webhooks.registration import register
from tests.behaviours import Answer, Received
from tests.dead_ports import refusing_port
from tests.dialects import golden_files
from tests.dialects.bulksms.conftest import BulkSms, CallerOf
from tests.dialects.shell import shell_with
from tests.factories import TESTER, change, rows
from tests.integration.api.conftest import Restarted
from tests.receiver import Receiver

HERE = Path(__file__).parent
ERRORS = "https://developer.bulksms.com/json/v1/errors"


def problem(answer: requests.Response) -> tuple[int, str]:
    """The status and detail of an answer, which must be a problem object in the vendor's form."""
    document = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert list(document) == ["type", "title", "status", "detail"]
    assert document["status"] == answer.status_code
    if answer.status_code != 401:
        assert document["type"] == f"{ERRORS}/#{document['title'].lower().replace(' ', '-')}"
    return answer.status_code, document["detail"]


def stored(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.webhooks WHERE deleted_at IS NULL ORDER BY number")


# Examples


def test_every_example_is_answered_as_it_stands(database: Engine, bulksms: BulkSms, receiver: Receiver) -> None:
    basic = base64.b64encode(":".join(bulksms.key).encode()).decode()

    def values() -> dict[str, str]:
        """`$one` and `$two` are the webhooks in the order in which they were made."""
        numbers = [str(row.number) for row in rows(database, "SELECT number FROM dispatcher.webhooks ORDER BY number")]
        return {"receiver": receiver.origin, "basic": basic, **dict(zip(("one", "two"), numbers, strict=False))}

    files = sorted((HERE / "golden").glob("*.http"))
    assert len(files) == 11
    for file in files:
        golden_files.check(file, golden_files.ask(file, bulksms.origin, values()), values)


def pages_command() -> str:
    """How a webhook is tested, according to the vendor's page."""
    (command,) = re.findall(r"``` (curl .*?) ```", html.unescape((HERE / "contract.txt").read_text()))
    assert isinstance(command, str)
    return command


@pytest.mark.parametrize("program", ["curl", "stand-in"])
def test_the_url_verification_is_the_request_of_the_pages_command(
    bulksms: BulkSms, tmp_path: Path, program: str
) -> None:
    url = bulksms.receiver.url("/hook.php?secret=pass763265word")
    shell_with(program, tmp_path)(pages_command().replace("YOUR_URL_HERE", url))
    bulksms.create(url=url)
    by_hand, tried = bulksms.receiver.received

    def seen(request: Received) -> tuple[Any, ...]:
        names = ("Host", "Content-Type", "User-Agent", "Content-Length")
        return request.method, request.target, request.body, [request.header(name) for name in names]

    assert seen(by_hand) == seen(tried)
    assert seen(tried)[0::2] == ("POST", b"[]")


# Webhooks


def test_a_webhook_is_made_as_the_dialect_says_and_seen_by_the_native_engine(
    database: Engine, bulksms: BulkSms
) -> None:
    made = bulksms.create(invokeOption="MANY", onWebApp=False, contactEmailAddress="ops@example.com")
    (webhook,) = stored(database)
    assert (webhook.number, webhook.dialect, webhook.event_types) == (made["id"], "bulksms", ["message.outbound"])
    assert webhook.contract == {"user_agent": "BulkSMS Invoker", "batch_size": 10, "retry_alone": True}
    assert webhook.dialect_fields == {"triggerScope": "SENT", "onWebApp": False}
    assert (webhook.name, webhook.contact_email, webhook.enabled) == ("a name", "ops@example.com", True)


def test_an_entry_that_is_a_webhook_as_it_was_answered_changes_nothing(database: Engine, bulksms: BulkSms) -> None:
    made = bulksms.create(invokeOption="MANY", onWebApp=False, contactEmailAddress="ops@example.com")
    before = stored(database)[0].contract
    answer = bulksms.call("POST", f"/{made['id']}", json=made)
    assert (answer.status_code, answer.json(), stored(database)[0].contract) == (200, made, before)


# For each optional member: a value other than its default, and another one.
OPTIONAL: dict[str, tuple[Any, Any]] = {
    "invokeOption": ("MANY", "ONE"),
    "active": (False, True),
    "contactEmailAddress": ("ops@example.com", "other@example.com"),
    "onWebApp": (False, True),
}


def optional_of(database: Engine) -> dict[str, Any]:
    """The optional members of the one webhook, as stored: answers do not show `invokeOption`."""
    (webhook,) = stored(database)
    assert (webhook.batch_size, webhook.contract.get("retry_alone", False)) in {(10, True), (1, False)}
    return {
        "invokeOption": "MANY" if webhook.batch_size == 10 else "ONE",
        "active": webhook.enabled,
        "contactEmailAddress": webhook.contact_email,
        "onWebApp": webhook.dialect_fields["onWebApp"],
    }


@pytest.mark.parametrize("member", OPTIONAL)
def test_an_update_changes_of_the_optional_members_what_it_gives(
    database: Engine, bulksms: BulkSms, member: str
) -> None:
    given = {name: value for name, (value, _) in OPTIONAL.items()}
    made = bulksms.create(**given, name="before")
    changes = {member: OPTIONAL[member][1]}
    changed = bulksms.call("POST", f"/{made['id']}", json=bulksms.entry(**changes)).json()
    assert optional_of(database) == given | changes
    answered = {name: value for name, value in changes.items() if name in made}
    assert bulksms.call("GET", f"/{made['id']}").json() == changed == made | {"name": "a name"} | answered


@pytest.mark.parametrize("member", OPTIONAL)
def test_null_is_as_left_out_but_for_the_address(database: Engine, bulksms: BulkSms, member: str) -> None:
    given = {name: value for name, (value, _) in OPTIONAL.items()}
    made = bulksms.create(**given)
    assert bulksms.call("POST", f"/{made['id']}", json=bulksms.entry(**{member: None})).status_code == 200
    assert optional_of(database) == given | ({member: None} if member == "contactEmailAddress" else {})


@pytest.mark.parametrize("nulls", [{}, dict.fromkeys(OPTIONAL)])
def test_a_new_webhook_has_the_published_defaults(database: Engine, bulksms: BulkSms, nulls: dict[str, None]) -> None:
    bulksms.create(**nulls)
    defaults = {"invokeOption": "ONE", "active": True, "contactEmailAddress": None, "onWebApp": True}
    assert optional_of(database) == defaults


@pytest.mark.parametrize("left_out", ["name", "url", "triggerScope"])
def test_an_update_needs_what_a_new_one_needs(bulksms: BulkSms, left_out: str) -> None:
    made = bulksms.create()
    entry = bulksms.entry(name="other")
    del entry[left_out]
    assert problem(bulksms.call("POST", f"/{made['id']}", json=entry)) == (400, f"{left_out} is required")
    assert bulksms.call("GET").json() == [made]


def test_an_update_leaves_alone_what_the_dialect_does_not_know(database: Engine, bulksms: BulkSms) -> None:
    made = bulksms.create()
    change(database, """UPDATE dispatcher.webhooks SET contract = contract || '{"rate_limit": 5.0}'""")
    assert bulksms.call("POST", f"/{made['id']}", json=bulksms.entry(invokeOption="MANY")).status_code == 200
    (webhook,) = stored(database)
    assert (webhook.contract["rate_limit"], webhook.contract["batch_size"]) == (5.0, 10)


def test_what_others_change_while_an_update_tries_the_url_stays(database: Engine, bulksms: BulkSms) -> None:
    made = bulksms.create()
    held = bulksms.receiver.gate()
    bulksms.receiver.script("/held", (held, *Answer(204).steps()))
    with ThreadPoolExecutor(1) as pool:
        entry = bulksms.entry(url=bulksms.receiver.url("/held"))
        updating = pool.submit(bulksms.call, "POST", f"/{made['id']}", json=entry)
        bulksms.receiver.wait_for(2)
        change(database, """UPDATE dispatcher.webhooks SET contract = contract || '{"rate_limit": 5.0}'""")
        held.open()
        assert updating.result(30).status_code == 200
    assert stored(database)[0].contract["rate_limit"] == 5.0


def test_a_deleted_webhooks_name_is_free_again(database: Engine, bulksms: BulkSms) -> None:
    made = bulksms.create()
    gone = bulksms.call("DELETE", f"/{made['id']}")
    assert (gone.status_code, gone.content) == (200, b"")
    assert bulksms.call("GET").json() == []
    assert bulksms.create()["id"] > made["id"]


def test_a_body_is_read_as_json_whatever_type_it_says_it_has(bulksms: BulkSms) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f'{{"name":"ü","url":"{bulksms.receiver.url()}","triggerScope":"SENT","more":[1]}}'.encode()
    assert bulksms.call("POST", data=body, headers=form).json()["name"] == "ü"


# The URL verification


def test_a_url_that_refuses_the_empty_array_changes_nothing(database: Engine, bulksms: BulkSms) -> None:
    made = bulksms.create()
    bad = bulksms.entry(url=bulksms.receiver.url("/status/503"), name="other")
    refused = bulksms.call("POST", f"/{made['id']}", json=bad)
    detail = "Invoking the Webhook URL caused an error: 503 - Service Unavailable"
    assert problem(refused) == problem(bulksms.call("POST", json=bad)) == (400, detail)
    assert bulksms.call("GET").json() == [made]


def test_an_update_tries_the_url_even_where_it_is_the_same(bulksms: BulkSms) -> None:
    made = bulksms.create()
    bulksms.call("POST", f"/{made['id']}", json=bulksms.entry())
    assert [request.body for request in bulksms.receiver.received] == [b"[]", b"[]"]


def test_one_that_is_not_active_is_not_tried(bulksms: BulkSms) -> None:
    made = bulksms.create(url=bulksms.receiver.url("/status/500"), active=False)
    assert made["active"] is False
    entry = bulksms.entry(url=bulksms.receiver.url("/status/501"), active=False)
    assert bulksms.call("POST", f"/{made['id']}", json=entry).status_code == 200
    assert bulksms.receiver.received == []
    assert problem(bulksms.call("POST", f"/{made['id']}", json=entry | {"active": True}))[0] == 400


def test_an_account_with_too_many_verifications_is_shown_its_limit(
    database: Engine, bulksms: BulkSms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.webhooks.url_verification.ACCOUNT_AT_ONCE", 0)
    answer = bulksms.call("POST", json=bulksms.entry())
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (429, True)
    assert answer.json() == {
        "type": "https://developer.bulksms.com/json/v1/errors/#too-many-requests",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "0 URLs of this account are being verified, the most at once for one account: try again when one "
        "has ended",
    }
    assert stored(database) == []


def test_no_answer_is_reported_as_well(bulksms: BulkSms) -> None:
    status, detail = problem(bulksms.call("POST", json=bulksms.entry(url=f"http://127.0.0.1:{refusing_port()}/s3cret")))
    assert (status, detail.startswith("Invoking the Webhook URL caused an error: ")) == (400, True)
    assert "s3cret" not in detail


# What is refused


@pytest.mark.parametrize(
    ("member", "value", "told"),
    [
        ("name", None, "name must be text"),
        ("name", "", "name must have at least 1 character"),
        ("name", "a\u0000b", "name must have 1 to 255 printable characters"),
        ("triggerScope", "sent", "triggerScope must be one of: SENT, RECEIVED"),
        ("invokeOption", "TWO", "invokeOption must be one of: ONE, MANY"),
        ("active", "true", "active must be true or false"),
        ("onWebApp", 1, "onWebApp must be true or false"),
        ("contactEmailAddress", "nobody", "contactEmailAddress must be one plain mail address"),
        ("url", "ftp://example.com/", "url must begin with http:// or https://"),
        ("url", "http://10.1.2.3/s3cret", "url does not lead to a public address"),
        ("url", "https://user:pw@example.com/", "url must not hold a user name or password"),
    ],
)
def test_a_member_that_does_not_fit_is_a_bad_request(
    database: Engine, bulksms: BulkSms, member: str, value: Any, told: str
) -> None:
    status, detail = problem(bulksms.call("POST", json=bulksms.entry(**{member: value})))
    assert (status, detail[: len(told)]) == (400, told)
    assert "s3cret" not in detail
    assert stored(database) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"name":"\\ud800"}', b"[" * 1_000])
def test_what_is_no_json_object_is_a_bad_request(bulksms: BulkSms, body: bytes) -> None:
    assert problem(bulksms.call("POST", data=body))[0] == 400


def test_no_two_webhooks_of_an_account_have_one_name(
    database: Engine, bulksms: BulkSms, installation: Installation
) -> None:
    account = rows(database, "SELECT id FROM dispatcher.accounts")[0].id
    register(installation, account, by=TESTER, url="https://hooks.example.com/", event_types=["*"], name="native")
    first, told = bulksms.create(name="first"), (400, "More than one webhook cannot have the same name")
    for name in ("first", "native"):
        assert problem(bulksms.call("POST", json=bulksms.entry(name=name))) == told
    second = bulksms.create(name="second")
    assert problem(bulksms.call("POST", f"/{second['id']}", json=bulksms.entry(name="first"))) == told
    assert bulksms.call("GET").json() == [first, second]


@pytest.mark.parametrize("identifier", ["999", "abc", "1e3", "-1", "%2B1", "٣", "9" * 5000, "1%00", "1%0A2", "0x1"])
def test_an_id_that_is_none_of_ones_own_does_not_exist(bulksms: BulkSms, identifier: str) -> None:
    bulksms.create()
    for method in ("GET", "DELETE", "POST"):
        answer = bulksms.call(method, f"/{identifier}", json=bulksms.entry(name="other"))
        asked = requests.utils.unquote(identifier)
        assert problem(answer) == (404, f"Webhook with id '{asked}' does not exist")


def test_webhooks_of_another_account_or_dialect_do_not_exist(
    database: Engine, bulksms: BulkSms, caller_of: CallerOf, installation: Installation
) -> None:
    made = bulksms.create()
    account = rows(database, "SELECT id FROM dispatcher.accounts")[0].id
    native = register(installation, account, by=TESTER, url="https://hooks.example.com/", event_types=["*"])
    other = register(
        installation, account, by=TESTER, url="https://hooks.example.com/", event_types=["*"], dialect="other"
    )
    stranger = caller_of("stranger")
    assert stranger.call("GET").json() == []
    assert bulksms.call("GET").json() == [made]
    for caller, number in ((stranger, made["id"]), (bulksms, native.webhook.number), (bulksms, other.webhook.number)):
        for method in ("GET", "POST", "DELETE"):
            answer = caller.call(method, f"/{number}", json=bulksms.entry(name="other"))
            assert problem(answer) == (404, f"Webhook with id '{number}' does not exist")
    assert len(stored(database)) == 3


# Callers


def test_without_a_valid_key_every_call_is_unauthorized_and_nothing_is_shown(
    database: Engine, bulksms: BulkSms, caller_of: CallerOf
) -> None:
    made, (identifier, _) = bulksms.create(), bulksms.key
    expired = caller_of("acme", valid_for=timedelta(seconds=1)).key
    revoked = caller_of("acme").key
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now() WHERE id = CAST(:id AS uuid)", id=revoked[0])
    change(database, "UPDATE dispatcher.api_keys SET expires_at = now() WHERE expires_at IS NOT NULL")
    answers = [
        bulksms.call(method, path, auth=key, json=bulksms.entry())
        for key in (None, (identifier, "wrong"), ("", ""), expired, revoked)
        for method, path in (("GET", ""), ("POST", ""), ("GET", f"/{made['id']}"), ("DELETE", f"/{made['id']}"))
    ]
    told = (401, "Full authentication is required to access this resource")
    assert {problem(answer) for answer in answers} == {told}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {'Basic realm="dispatcher"'}
    assert len({answer.content for answer in answers}) == 1


def test_a_key_needs_the_scope_and_an_account(bulksms: BulkSms, caller_of: CallerOf) -> None:
    made = bulksms.create()
    reader, manager = caller_of("acme", Scope.READ), caller_of("acme", Scope.MANAGE)
    assert reader.call("GET", f"/{made['id']}").json() == made
    for method, path in (("POST", ""), ("POST", f"/{made['id']}"), ("DELETE", f"/{made['id']}")):
        told = (403, "the API key does not have the scope `manage`")
        assert problem(reader.call(method, path, json=reader.entry())) == told
    assert problem(manager.call("GET"))[0] == 403
    assert problem(caller_of(None, Scope.OPERATOR).call("GET"))[0] == 403


def test_a_key_works_as_bearer_as_well(bulksms: BulkSms) -> None:
    bearer = {"Authorization": f"Bearer {'.'.join(bulksms.key)}"}
    assert bulksms.call("GET", auth=None, headers=bearer).json() == []


# Errors outside the calls


def test_what_http_refuses_is_reported_in_the_vendors_form(bulksms: BulkSms) -> None:
    assert problem(bulksms.call("PUT"))[0] == 405
    assert bulksms.call("PATCH", "/1").headers["Allow"]
    assert problem(bulksms.call("GET", "/"))[0] == 404
    assert problem(bulksms.call("GET", "/1/2"))[0] == 404
    assert problem(bulksms.call("POST", data=b" " * (MAX_BODY_BYTES + 1)))[0] == 413


def test_too_many_requests_are_reported_with_the_time_to_wait(
    bulksms: BulkSms, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.setenv("DISPATCHER_API_REQUESTS_PER_MINUTE", "1")
    restarted()
    assert bulksms.call("GET").status_code == 200
    second = bulksms.call("GET")
    assert problem(second)[0] == 429
    assert int(second.headers["Retry-After"]) >= 1


def test_a_database_that_is_away_is_reported(
    bulksms: BulkSms, settings: Settings, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:s3cret@127.0.0.1:{refusing_port()}/d")
    restarted()
    answer = bulksms.call("GET")
    assert problem(answer)[0] == 503
    assert "s3cret" not in answer.text
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("broken", [RuntimeError("s3cret"), "SELECT CAST('s3cret' AS integer)"])
def test_a_defect_shows_the_id_of_its_log_line_and_nothing_else(
    bulksms: BulkSms, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: Any
) -> None:
    def fail(session: Any, _: Any) -> Any:
        if isinstance(broken, str):
            session.execute(text(broken))
        raise broken

    monkeypatch.setattr(frame, "Webhooks", fail)
    with caplog.at_level(logging.ERROR):
        answer = bulksms.call("GET")
    assert problem(answer)[0] == 500
    (line,) = [record for record in caplog.records if record.name == "dispatcher.api.requests"]
    assert answer.headers["X-Request-Id"] in line.getMessage()
    assert "s3cret" not in answer.text + caplog.text


def test_the_description_names_the_calls_and_where_they_are(bulksms: BulkSms) -> None:
    document = requests.get(f"{bulksms.origin}/bulksms/openapi.json", timeout=30).json()
    assert document["servers"] == [{"url": f"{bulksms.origin}/bulksms"}]
    assert {path: sorted(calls) for path, calls in document["paths"].items()} == {
        "/v1/webhooks": ["get", "post"],
        "/v1/webhooks/{id}": ["delete", "get", "post"],
    }
    assert "422" not in str(document["paths"])
