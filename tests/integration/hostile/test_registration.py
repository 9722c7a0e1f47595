"""Whatever a webhook, account or key is made of: refused by the name of a field, or shown and sent without harm."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import create_account, find_account
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.errors import InvalidInput, UnknownAccount
from dispatcher.receiver_auth.credentials import Basic, Bearer, ClientCredentials
from dispatcher.settings import Settings
from dispatcher.signing.keys import check_signing_key
from dispatcher.webhooks.fields import WebhookFields, check
from tests import hostile_values
from tests.each import each
from tests.factories import TESTER, attempts, change_webhook, deliver_all, make_account, make_webhook, rows
from tests.hostile_values import refusal, steering
from tests.installations import installation_for
from tests.integration.cli.conftest import Cli
from tests.receiver import Receiver

LOGIN = "https://login.example/token"
BODY = {"header": "X-Signature"}

# Field as it is named in a refusal -> the webhook's fields with the value in its place.
PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "name": lambda text: {"name": text},
    "app": lambda text: {"app": text},
    "contact_email": lambda text: {"contact_email": text},
    "event_types": lambda text: {"event_types": [text]},
    "contract.user_agent": lambda text: {"contract": {"user_agent": text}},
    "contract.body_signature.header": lambda text: {
        "contract": {"body_signature": {"header": text}},
        "body_secret": "s",
    },
    "contract.body_signature.prefix": lambda text: {
        "contract": {"body_signature": {**BODY, "prefix": text}},
        "body_secret": "s",
    },
    "contract.nonce_signature.header": lambda text: {
        "contract": {"nonce_signature": {"header": text}},
        "nonce_secret": "s",
    },
    "body_secret": lambda text: {"contract": {"body_signature": BODY}, "body_secret": text},
    "nonce_secret": lambda text: {"contract": {"nonce_signature": BODY}, "nonce_secret": text},
    "headers": lambda text: {"headers": {text: "value"}},
    "headers.X-Own": lambda text: {"headers": {"X-Own": text}},
    "basic.username": lambda text: {"authorization": Basic(text, "word")},
    "basic.password": lambda text: {"authorization": Basic("user", text)},
    "bearer.token": lambda text: {"authorization": Bearer(text)},
    "client_credentials.client_id": lambda text: {"authorization": ClientCredentials(LOGIN, text, "s")},
    "client_credentials.client_secret": lambda text: {"authorization": ClientCredentials(LOGIN, "c", text)},
    "client_credentials.scope": lambda text: {"authorization": ClientCredentials(LOGIN, "c", "s", scope=text)},
    "client_credentials.response_type": lambda text: {
        "authorization": ClientCredentials(LOGIN, "c", "s", response_type=text)
    },
    "client_credentials.endpoint": lambda text: {"authorization": ClientCredentials(text, "c", "s")},
}


def refused_by(database: Engine, settings: Settings, fields: dict[str, Any]) -> InvalidInput | None:
    """Tries to register a webhook."""
    wanted: WebhookFields = {"url": "http://a.test/", "event_types": ["a"], **fields}  # type: ignore[typeddict-item]
    return refusal(lambda: check(wanted, installation_for(settings).addresses))


@pytest.mark.parametrize("field", PLACES)
def test_a_field_that_is_refused_is_named_and_its_value_not_repeated(
    database: Engine, settings: Settings, field: str
) -> None:
    make_account(database)
    for text in hostile_values.ALL.values():
        refused = refused_by(database, settings, PLACES[field](text))
        if refused is None:
            assert text in hostile_values.TEXTS.values()
            continue
        assert refused.field == field
        assert text not in str(refused)
        assert not steering(str(refused), allowed="")
        assert len(str(refused)) < 400
    assert refused_by(database, settings, PLACES[field](hostile_values.TEXTS["crlf"])) is not None


@pytest.mark.parametrize(
    "contact",
    [" a@b.test", "a@b.test ", "a@b.test(c)", '""@b.test', "a@=?utf-8?q?b?=", "a@b.test>", "a@b.test,c@d.test"],
)
def test_a_contact_is_taken_only_as_it_can_be_mailed_to(database: Engine, settings: Settings, contact: str) -> None:
    make_account(database)
    refused = refused_by(database, settings, {"contact_email": contact})
    assert refused is not None
    assert refused.field == "contact_email"


def test_what_is_taken_is_shown_and_sent_without_harm(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_account(database)
    taken: Counter[str] = Counter()
    for name, text in hostile_values.TEXTS.items():
        fields: dict[str, Any] = {}
        for field, place in PLACES.items():
            if "client" not in field and refused_by(database, settings, place(text)) is None:
                given = place(text)
                taken[field] += 1
                contract = {**fields.get("contract", {}), **given.pop("contract", {})}
                fields |= given | {"contract": contract}
        if "nonce_secret" in fields:  # as both signatures are in one header in these places
            fields["contract"]["nonce_signature"] = {"header": "X-Nonce"}
        make_webhook(database, settings, url=receiver.url(f"/{len(name)}"), **{"event_types": ["a"], **fields})
    assert taken.keys() == PLACES.keys() - {
        "event_types",
        "contact_email",
        "headers",
        "contract.body_signature.header",
        "contract.nonce_signature.header",
        *(field for field in PLACES if "client" in field),
    }
    for (identifier,) in rows(database, "SELECT id FROM dispatcher.webhooks"):
        for form in (("--reveal",), ("--json",)):
            shown = cli("webhook", "show", identifier, *form)
            assert shown.status == 0
            assert not steering(shown.out + shown.err)
    assert not steering(cli("webhook", "list").out)
    for (app,) in rows(database, "SELECT DISTINCT app FROM dispatcher.webhooks WHERE app IS NOT NULL"):
        enqueue("a", {"n": 1}, account="acme", app=app)
    enqueue("a", {"n": 1}, account="acme")
    deliver_all(settings)
    assert {attempt.verdict for attempt in attempts(database)} == {"acknowledged"}
    assert len(receiver.received) >= len(hostile_values.TEXTS)
    for callback in receiver.received:
        assert callback.body == b'[{"n":1}]'
        assert not {"x-evil", "bcc"} & {name.lower() for name, _ in callback.headers}


def test_no_hostile_url_gets_into_a_request(database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_account(database)
    for text in hostile_values.ALL.values():
        for url in (text, f"http://{text}/", receiver.url(f"/{text}"), receiver.url(f"/hook?{text}")):
            refused = refusal(lambda url: make_webhook(database, settings, url=url, event_types=["a"]), url)
            assert refused is None or (refused.field == "url" and not steering(str(refused), allowed=""))
    here = f"{receiver.origin}/%"
    elsewhere = rows(database, "DELETE FROM dispatcher.subscriptions s USING dispatcher.webhooks w WHERE w.id ="
                     " s.webhook_id AND w.url_masked NOT LIKE :here RETURNING w.url_masked", here=here)  # fmt: skip
    assert all(row.url_masked.isprintable() for row in elsewhere)
    enqueue("a", {"n": 1}, account="acme")
    deliver_all(settings)
    assert len(receiver.received) > 15
    for callback in receiver.received:
        assert callback.target.isascii()
        assert callback.body == b'[{"n":1}]'
        assert not {"x-evil", "bcc"} & {name.lower() for name, _ in callback.headers}


@each("text", hostile_values.ALL.values())
def test_a_hostile_signing_key_is_refused_and_not_repeated(text: str) -> None:
    for given in (text, f"whsec_{text}", f"whsk_{text}"):
        refused = refusal(check_signing_key, given)
        assert refused is not None
        assert (refused.field, given in str(refused)) == ("signing_keys", False)


def test_names_of_accounts_and_keys_and_reasons_are_lines_of_text(
    cli: Cli, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, url=receiver.url("/hook"))
    for text in [*hostile_values.ALL.values(), "", " x", "x" * 256]:
        with Session(database) as session, session.begin():
            refused = refusal(lambda name: create_account(session, name, by=TESTER), text)
            assert refused is None or refused.field == "name"
        with Session(database) as session, session.begin():
            if refused is None:
                assert find_account(session, text).name == text
            else:
                with pytest.raises(UnknownAccount):
                    find_account(session, text)
        with Session(database) as session, session.begin():
            named = refusal(
                lambda text: create_key(session, by=TESTER, account="acme", scopes=[Scope.SEND], name=text), text
            )
            assert (named is None) == (refused is None)
            assert named is None or named.field == "name"
        reason = refusal(lambda text: change_webhook(database, settings, webhook, "disable", reason=text), text)
        assert reason is None or reason.field == "reason"
        assert (reason is None) == (text == " x" or refused is None)
        for one in (refused, named, reason):
            assert one is None or (not steering(str(one), allowed="") and len(str(one)) < 200)
    for command in (("account", "list"), ("key", "list"), ("webhook", "show", webhook.id)):
        for form in ((), ("--json",)):
            shown = cli(*command, *form)
            assert shown.status == 0
            assert not steering(shown.out)
    names = {account["name"] for account in cli("account", "list", "--json").document}
    assert {hostile_values.TEXTS[one] for one in ("markup", "html", "template", "formats", "right to left")} <= names
    assert "[bold red]x[/]" in cli("account", "list").out


def test_a_webhook_may_hold_no_more_than_its_bounds(database: Engine, settings: Settings) -> None:
    for fields in (
        {"event_types": ["a"] * 101},
        {"event_types": []},
        {"headers": {f"X-{number}": "v" for number in range(21)}},
        {"headers": {"X-A": "v" * 4097}},
        {"headers": {"X" * 101: "v"}},
    ):
        refused = refusal(lambda fields: make_webhook(database, settings, url="http://a.test/", **fields), fields)
        assert isinstance(refused, InvalidInput)
    assert json.dumps([tuple(row) for row in rows(database, "SELECT * FROM dispatcher.webhooks")]) == "[]"
