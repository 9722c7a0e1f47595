"""What `dispatcher webhook` takes, keeps and shows of secrets."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher.db.models import Webhook
from dispatcher.receiver_auth.credentials import Basic, Bearer, ClientCredentials, TokenRequest
from dispatcher.settings import Settings
from dispatcher.signing.keys import generate_signing_key
from dispatcher.webhooks.secrets import WebhookSecrets
from dispatcher.webhooks.store import Webhooks
from tests.factories import change_within
from tests.installations import installation_for
from tests.integration.cli.conftest import Cli, Ran
from tests.waiting import wait_for_a_lock

URL = "https://hooks.example.com/in"


@pytest.fixture
def create(cli: Cli) -> Any:
    cli("account", "create", "acme")

    def run(*options: object, stdin: str | None = None) -> Ran:
        return cli("webhook", "create", "--account", "acme", "--url", URL, "--type", "*", *options, stdin=stdin)

    return run


@pytest.fixture
def stored(database: Engine, settings: Settings) -> Any:
    def read() -> WebhookSecrets:
        with Session(database) as session:
            (webhook,) = session.query(Webhook)
            return Webhooks(session, installation_for(settings)).read(None, webhook.id).secrets

    return read


def test_the_signing_key_is_printed_when_made_and_when_asked_for(create: Any, cli: Cli, stored: Any) -> None:
    made = create()
    (key,) = stored().signing_keys
    assert key.secret in made.out
    assert "Give the signing key" in made.err
    identifier = cli("webhook", "list", "--json").document[0]["id"]
    for asked in (("show", identifier, "--reveal"), ("show", identifier, "--reveal", "--json")):
        assert key.secret in cli("webhook", *asked).out
    for other in (("show", identifier), ("list",), ("list", "--json"), ("disable", identifier), ("enable", identifier)):
        assert key.secret not in cli("webhook", *other).out
    assert "whsec_***" in cli("webhook", "show", identifier).out


def test_of_an_ed25519_key_the_public_part_is_always_shown(create: Any, cli: Cli, stored: Any) -> None:
    identifier = create("--signing", "ed25519", "--json").document["id"]
    (key,) = stored().signing_keys
    shown = cli("webhook", "show", identifier)
    assert key.public_key in shown.out
    assert key.secret not in shown.out


def test_a_webhook_can_be_unsigned_or_sign_with_a_key_that_the_receiver_has(create: Any, stored: Any, cli: Cli) -> None:
    unsigned = create("--signing", "none", "--json")
    assert unsigned.document["signing_keys"] == []
    assert "signing key" not in unsigned.err
    cli("webhook", "delete", unsigned.document["id"], "--yes")
    key = generate_signing_key()
    made = create("--signing-key-from", "-", "--json", stdin=f"{key.secret}\n")
    assert made.document["signing_keys"][0]["secret"] == key.secret


def test_rotation_prints_the_new_key_and_says_until_when_the_old_one_signs(create: Any, cli: Cli, stored: Any) -> None:
    identifier = create("--json").document["id"]
    (old,) = stored().signing_keys
    rotated = cli("webhook", "rotate-secret", identifier, "--overlap", "48", "--json")
    new, kept = rotated.document["signing_keys"]
    assert [key.secret for key in stored().signing_keys] == [new["secret"], kept["secret"]]
    assert (new["until"], kept["secret"]) == (None, old.secret)
    assert kept["until"].endswith("Z")
    assert "until 20" in cli("webhook", "show", identifier).out
    (alone,) = cli("webhook", "rotate-secret", identifier, "--overlap", "0", "--signing", "ed25519", "--json").document[
        "signing_keys"
    ]
    assert alone["kind"] == "ed25519"
    assert cli("webhook", "rotate-secret", identifier, "--overlap", "721").status == 2


def test_each_authorization_is_read_from_where_no_process_list_shows_it(
    create: Any, cli: Cli, stored: Any, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("planted-token\nsecond line\n")
    identifier = create("--bearer-from", token, "--json").document["id"]
    assert stored().authorization == Bearer("planted-token")
    cli(
        "webhook", "update", identifier, "--basic-username", "ops", "--basic-password-from", "-", stdin="planted pw\r\n"
    )
    assert stored().authorization == Basic("ops", "planted pw")
    shown = cli(
        *(
            "webhook",
            "update",
            identifier,
            "--token-endpoint",
            "https://login.example/t?k=planted",
            "--client-id",
            "me",
        ),
        *("--client-secret-from", "-", "--token-scope", "sms", "--token-request", "form", "--json"),
        stdin="planted-secret",
    )
    assert stored().authorization == ClientCredentials(
        "https://login.example/t?k=planted", "me", "planted-secret", "sms", None, TokenRequest.FORM
    )
    assert shown.document["authorization"] == {
        "kind": "client_credentials",
        "endpoint": "https://login.example/t?k=***",
        "client_id": "me",
        "client_secret": "***",
        "scope": "sms",
        "response_type": None,
        "token_request": "form",
    }
    assert "planted" not in cli("webhook", "show", identifier, "--reveal").out
    cli("webhook", "update", identifier, "--clear", "authorization")
    assert stored().authorization is None
    assert len(stored().signing_keys) == 1


def test_headers_are_read_from_a_file_and_shown_by_name_only(
    create: Any, cli: Cli, stored: Any, tmp_path: Path
) -> None:
    headers = tmp_path / "headers"
    headers.write_text("X-Api-Key: planted: value\n\nx-tenant:planted\n")
    made = create("--headers-from", headers)
    assert stored().headers == {"X-Api-Key": "planted: value", "x-tenant": "planted"}
    shown = cli("webhook", "show", cli("webhook", "list", "--json").document[0]["id"]).out
    assert "X-Api-Key: ***" in shown
    assert "planted" not in made.out + shown


def test_two_other_signatures_with_their_secrets(create: Any, cli: Cli, stored: Any) -> None:
    made = create(
        *("--body-signature", "X-Hub-Signature,sha1,prefix=sha1=", "--body-secret-from", "-"),
        *("--nonce-signature", "x-sinch-webhook-signature", "--nonce-secret-from", "-", "--json"),
        stdin="planted body\nplanted nonce\n",
    )
    assert (stored().body_secret, stored().nonce_secret) == ("planted body", "planted nonce")
    assert made.document["contract"]["body_signature"] == {
        "header": "X-Hub-Signature",
        "digest": "sha1",
        "encoding": "hex",
        "prefix": "sha1=",
    }
    assert "planted" not in made.out
    identifier = made.document["id"]
    assert "X-Hub-Signature,sha1,hex,prefix=sha1=" in cli("webhook", "show", identifier).out
    # An update keeps the secret, and clearing the signature wipes it.
    cli("webhook", "update", identifier, "--body-signature", "X-Other,base64")
    assert stored().body_secret == "planted body"
    cli("webhook", "update", identifier, "--body-secret-from", "-", stdin="another\n")
    assert stored().body_secret == "another"
    cli("webhook", "update", identifier, "--clear", "body-signature", "--clear", "nonce-signature")
    assert (stored().body_secret, stored().nonce_secret) == (None, None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--bearer-from", "-", "--basic-username", "u"), "exclude each other"),
        (("--basic-password-from", "-"), "needs --basic-username"),
        (("--client-id", "x"), "need --token-endpoint"),
        (("--token-endpoint", "https://login.example/"), "needs --client-id"),
        (("--bearer-from", "no-such-file"), "No such file"),
        (("--bearer-from", "-"), "--bearer-from finds no line"),
        (("--body-signature", "X-A,md5"), "must look like"),
        (("--body-signature", "X-A"), "--body-secret-from is needed"),
        (("--signing", "none", "--signing-key-from", "-"), "exclude each other"),
        (("--headers-from", "-"), "contain a name"),
    ],
)
def test_options_that_do_not_go_together_say_what_to_do(create: Any, options: tuple[str, ...], says: str) -> None:
    ran = create(*options, stdin="Host: x\n" if "--headers-from" in options else "")
    assert ran.status in {1, 2}
    assert says in ran.err


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--body-signature", "Authorization", "--body-secret-from", "-"), "header of --body-signature"),
        (("--body-signature", "webhook-id", "--body-secret-from", "-"), "header of --body-signature"),
        (("--nonce-signature", "X\nY", "--nonce-secret-from", "-"), "header of --nonce-signature"),
        (("--signing-key-from", "-"), "--signing-key-from"),
    ],
)
def test_what_the_core_refuses_names_the_field_and_repeats_nothing(
    create: Any, cli: Cli, options: tuple[str, ...], field: str
) -> None:
    ran = create(*options, stdin="planted\n")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"Error: {field} ")
    assert "planted" not in ran.err
    assert cli("webhook", "list", "--json").document == []


def test_a_header_cannot_be_sent_twice(create: Any, tmp_path: Path) -> None:
    headers = tmp_path / "headers"
    headers.write_text("x-signature-nonce: 1\n")
    ran = create("--headers-from", headers, "--nonce-signature", "X-Signature", "--nonce-secret-from", "-", stdin="s\n")
    assert "headers (--headers-from) contain x-signature-nonce, which carries a signature" in ran.err
    ran = create(
        *("--body-signature", "x-signature-nonce", "--body-secret-from", "-"),
        *("--nonce-signature", "X-Signature", "--nonce-secret-from", "-"),
        stdin="s\nt\n",
    )
    assert "the two signatures cannot share a header" in ran.err


def test_a_rotation_while_somebody_else_rotates_loses_no_key(
    create: Any, cli: Cli, stored: Any, database: Engine, settings: Settings
) -> None:
    identifier = create("--json").document["id"]
    theirs = generate_signing_key()
    with ThreadPoolExecutor(1) as pool:
        with Session(database) as session, session.begin():
            keys = stored().signing_keys
            change_within(session, settings, UUID(identifier), {"signing_keys": [theirs, *keys]})
            rotating = pool.submit(cli, "webhook", "rotate-secret", identifier, "--overlap", 1)
            wait_for_a_lock(database)
        assert rotating.result(30).status == 0
    keys = [key.secret for key in stored().signing_keys]
    assert len(keys) == 3
    assert theirs.secret in keys


def test_one_input_gives_all_secrets_a_line_each_and_the_headers_last(cli: Cli, stored: Any) -> None:
    cli("account", "create", "acme")
    key = generate_signing_key().secret
    made = cli(
        *("webhook", "create", "--account", "acme", "--type", "*", "--url-from", "-", "--headers-from", "-", "--json"),
        *("--token-endpoint-from", "-", "--client-id", "acme", "--client-secret-from", "-", "--signing-key-from", "-"),
        *("--body-signature", "X-Body", "--body-secret-from", "-", "--nonce-signature", "X-Nonce"),
        *("--nonce-secret-from", "-"),
        stdin=f"https://a.test/\nhttps://b.test/token\nclient-secret\n{key}\nbody\nnonce\nX-A: 1\nX-B: 2\n",
    )
    assert made.document["url"] == "https://a.test/"
    secrets = stored()
    assert secrets.authorization == ClientCredentials("https://b.test/token", "acme", "client-secret")
    assert [each.secret for each in secrets.signing_keys] == [key]
    assert (secrets.body_secret, secrets.nonce_secret) == ("body", "nonce")
    assert secrets.headers == {"X-A": "1", "X-B": "2"}
