"""A dump of the database alone reveals no secret, whatever receivers answer."""

import base64
import gzip
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.embedded.servers.postgres_runtime import _bundled
from dispatcher.receiver_auth.credentials import Basic, Bearer, ClientCredentials
from dispatcher.settings import Settings
from dispatcher.signing.keys import SigningKey
from dispatcher.webhooks.fields import WebhookFields
from tests.behaviours import Answer, Received
from tests.conftest import ENCRYPTION_KEY
from tests.factories import TESTER, attempts, change_webhook, deliver_all, deliveries, make_webhook, rows
from tests.integration.workers.notices.conftest import mailer_for
from tests.mail_server import MailServer
from tests.planted import found_in
from tests.receiver import Receiver
from workers.notices.send import send_due
from workers.results.record import KEPT_BODY, KEPT_HEADERS

IN_PATH = "planted-path-4e2b9a7c"
IN_QUERY = "planted query & value-5f1c"
BARE_IN_QUERY = "planted-bare-token-77"
USERNAME = "planted-user-3e"
PASSWORD = 'planted "pass/word"-90cd'

IN_HEADER = "planted-header-6aa1"
BEARER = "planted-bearer/token+b7=="
CLIENT_ID, CLIENT_SECRET, SCOPE = "planted-client-0d", "planted-client-secret-44", "planted-scope-81"
IN_ENDPOINT, FETCHED = "planted-endpoint-token-93", "planted-fetched/token-c5"
SIGNING_KEY = SigningKey("whsec_" + base64.b64encode(b"planted-signing-key-of-32-bytes!").decode())
BODY_SECRET, NONCE_SECRET = "planted-body-secret-5e", "planted-nonce-secret-60"

# What every webhook of these tests is given, and what of it must not be found. A new kind of credential goes here.
QUERY = f"key={IN_QUERY.replace(' ', '%20').replace('&', '%26')}&{BARE_IN_QUERY}"
CREDENTIALS: WebhookFields = {
    "headers": {"X-Api-Key": IN_HEADER},
    "signing_keys": [SIGNING_KEY],
    "body_secret": BODY_SECRET,
    "nonce_secret": NONCE_SECRET,
}
CONTRACT = {"body_signature": {"header": "X-Body-Signature"}, "nonce_signature": {"header": "X-Nonce-Signature"}}
BASIC = Basic(USERNAME, PASSWORD)
SENT = (
    *(IN_PATH, IN_QUERY, BARE_IN_QUERY, USERNAME, PASSWORD, IN_HEADER, BEARER),
    *(IN_ENDPOINT, CLIENT_ID, CLIENT_SECRET, SCOPE, FETCHED),
)
SECRETS = (*SENT, SIGNING_KEY.secret, "planted-signing-key", BODY_SECRET, NONCE_SECRET)

EVENTS = 60
TEXT = "words of a message"  # lies in the database in clear, and shows that the search finds what is there
_ID = re.compile(rb'\bid"?[:=](\d+)')


def all_of(received: Received) -> str:
    """All that a receiver knows: the request as it came, and what can be read out of it."""
    known = [received.head.decode("latin-1"), unquote(received.target), received.body.decode()]
    for _, value in received.headers:
        if value.startswith("Basic "):
            known.append(base64.b64decode(value.removeprefix("Basic ")).decode())
    return "\n".join(known)


def echo(received: Received) -> Answer:
    """Answers with all of it, in headers and body. The path says with which status, and where in the body."""
    _, status, place, *_ = received.path.split("/")
    told = all_of(received).encode()
    found = _ID.search(told)
    assert found is not None
    shift = 12 * int(found[1])  # in one event's answer or another each secret lies on the edge of what is kept
    body = {
        "begin": told,
        "twice": told * 40,
        "edge": b"." * (KEPT_BODY - shift) + told,
        "gzip": gzip.compress(told),
    }[place]
    lines = [line for line in told.decode("latin-1").splitlines() if line.strip()]
    headers = [
        ("Location", received.target),
        ("X-Filler", "f" * (KEPT_HEADERS - 250 - shift)),
        *((f"X-Known-{number}", line) for number, line in enumerate(lines)),
        ("X-Again", " ".join(lines) * 3),
    ]
    if place == "gzip":
        headers.append(("Content-Encoding", "gzip"))
    return Answer(int(status), tuple(headers), body)


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def test_a_dump_holds_no_secret_in_any_shape(
    database: Engine, settings: Settings, receiver: Receiver, mail_server: MailServer
) -> None:
    webhooks = []
    token = ClientCredentials(receiver.url(f"/token?key={IN_ENDPOINT}"), CLIENT_ID, CLIENT_SECRET, SCOPE)
    receiver.script("/token", Answer(200, body=json.dumps({"access_token": FETCHED, "expires_in": 600}).encode()))
    for status, place, shown, contract in (
        (200, "begin", BASIC, {}),
        (204, "begin", Bearer(BEARER), {"method": "GET"}),
        (302, "twice", Bearer(BEARER), {}),
        (400, "edge", BASIC, {}),
        (404, "gzip", BASIC, {}),
        (410, "begin", BASIC, {"rules": {"410": {"verdict": "rejected", "disable_webhook": True}}}),
        (500, "edge", Bearer(BEARER), {}),
        (503, "twice", token, {}),
    ):
        path = f"/{status}/{place}/{IN_PATH}"
        receiver.script(path, echo)
        url = receiver.url(f"{path}?{QUERY}")
        named = {"contact_email": "ops@example.com", "name": f"{status} {place}", "contract": CONTRACT | contract}
        webhooks.append(make_webhook(database, settings, url=url, authorization=shown, **CREDENTIALS, **named))
    with Session(database) as session, session.begin():
        api_key = create_key(session, by=TESTER, account="acme", scopes=[Scope.SEND]).token

    for number in range(EVENTS):
        enqueue("message.sent", {"id": number, "body": TEXT}, account="acme")
    deliver_all(settings)
    told = send_due(database, mailer_for(settings, mail_server.port))
    change_webhook(database, settings, webhooks[0], "update", url=receiver.url(f"/new?{QUERY}"))
    change_webhook(database, settings, webhooks[1], "delete")

    # They have been in use: the receiver got each of them, and what it said is kept.
    got = "\n".join(map(all_of, receiver.received))
    assert not [secret for secret in SENT if secret not in got]
    assert {row.state for row in deliveries(database)} == {"delivered", "discarded", "waiting", "ready"}
    answers = [row for row in attempts(database) if row.status is not None]
    assert len({row.status for row in answers}) == 8
    assert not any(row.answer_unreadable for row in answers)
    for row in answers:
        assert "Location: /" in row.answer_headers
        assert row.answer_headers.count("***") >= 3
        assert not ends_with_a_part(bytes(row.answer_excerpt))
        assert not ends_with_a_part(row.answer_headers.encode())
    assert {row.status for row in answers if b"***" in bytes(row.answer_excerpt)} == {200, 302, 400, 404, 410, 500, 503}
    assert told["sent"] > 5

    dump = dumped(database)
    assert found_in(dump, [TEXT]), "messages lie there in clear, so the search would find a secret"
    assert found_in(dump, [*SECRETS, api_key.partition(".")[2], ENCRYPTION_KEY]) == []
    for mail in mail_server.messages:
        assert found_in(mail.body() + mail.body("html") + str(mail.parsed), SECRETS) == []


def test_what_a_receiver_repeats_of_either_spelling_of_its_url_is_not_kept(
    database: Engine, settings: Settings, receiver: Receiver, mail_server: MailServer
) -> None:
    given = "/in/%70lanted-token-77?key=schlüssel%c3%bc planted&planted-fragment".replace(" ", "\u00a0")
    given = given.replace("&", "#")
    called = "/in/%70lanted-token-77?key=schl%C3%BCssel%c3%bc%C2%A0planted"
    decoded = unquote(called)
    told = f"{given}\n{called}\n{decoded}"
    header = ("X-Called", f"{called} {quote(decoded)}")
    receiver.script(called.partition("?")[0], Answer(404, (header,), told.encode()))
    webhook = make_webhook(database, settings, url=receiver.url(given), contact_email="ops@example.com")
    assert webhook.url_masked == receiver.url("/in/***?key=***#***")
    enqueue("message.sent", {"id": 1, "body": TEXT}, account="acme")
    deliver_all(settings)
    send_due(database, mailer_for(settings, mail_server.port))

    (received,) = receiver.received
    assert received.target == called
    (row,) = attempts(database)
    assert bytes(row.answer_excerpt) == b"/in/***?key=***#***\n/in/***?key=***\n/in/***?key=***"
    assert "X-Called: /in/***?key=*** /in/***" in row.answer_headers
    for text in ("planted", "schl"):
        assert found_in(dumped(database), [text]) == []
        (mail,) = mail_server.messages
        assert text not in mail.body() + mail.body("html")
    assert receiver.url("/in/***?key=***#***") in mail.body()


def ends_with_a_part(kept: bytes) -> bool:
    return any(kept.endswith(secret[:n].encode()) for secret in SECRETS for n in range(6, len(secret)))


def dumped(database: Engine) -> str:
    """All of the database, as PostgreSQL's own program writes it."""
    ((version,),) = rows(database, "SELECT current_setting('server_version_num')::integer / 10000")
    program = _bundled()[version].programs / "pg_dump"
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run([program, "--dbname", url], capture_output=True, check=True, timeout=60)
    dump: Any = done.stdout.decode()
    assert "COPY dispatcher.webhooks" in dump
    return dump
