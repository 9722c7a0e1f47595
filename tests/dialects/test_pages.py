"""The pages of the dialects are true: their examples run unchanged, and callbacks are sent as they show."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from dispatcher import enqueue
from dispatcher.ids import time_of
from dispatcher.settings import Settings
from tests.behaviours import Received
from tests.certificates import Authority, new_authority
from tests.dialects.callers import DIALECTS, Vendors
from tests.dialects.shell import shell_with
from tests.dialects.sinch.test_clients import CLIENT
from tests.factories import deliver_all, rows
from tests.integration.api.conftest import Api
from tests.receiver import Receiver

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / "docs" / "dialects" / f"{name}.md").read_text() for name in DIALECTS}
PAGES["all"] = (ROOT / "docs" / "dialects.md").read_text()

_EXAMPLE = re.compile(r"^<!-- example: ([\w-]+) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXECUTABLE = re.compile(r"^```(?:python|sh)$", re.MULTILINE)
_CALLBACK = re.compile(r"^```http\n(.*?)\n\n(.*?)\n```$", re.MULTILINE | re.DOTALL)

EXAMPLES = {
    (page, name): (language, code) for page, text in PAGES.items() for name, language, code in _EXAMPLE.findall(text)
}
# Depends on the time, and is checked separately.
_SIGNED = re.compile(r"^((?:x-sinch-)?webhook-(?:signature|timestamp|signature-timestamp)): .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback as a page shows it."""

    head: str
    body: str

    @property
    def headers(self) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in self.head.splitlines()[1:])

    @property
    def message(self) -> str:
        """The message as the producer gave it."""
        if self.body.startswith("["):
            return self.body[1:-1]
        envelope, data, rest = self.body.partition('"data":')
        return rest[:-1] if data else envelope


def shown(dialect: str) -> Callback:
    ((head, body),) = _CALLBACK.findall(PAGES[dialect])
    return Callback(head, body)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def receiver_for(dialect: str, authority: Authority) -> Iterator[Receiver]:
    """A receiver; flexEngage's webhooks are called only over TLS."""
    with Receiver(tls=authority.server("127.0.0.1") if dialect == "flexengage" else None) as running:
        yield running


def run_client(dialect: str, vendors: Vendors, receiver: Receiver, folder: Path, program: str) -> None:
    """Runs the page's example with this server and this receiver instead of those that it names."""
    language, code = EXAMPLES[dialect, "client"]
    identifier, _, secret = vendors.token.partition(".")
    authority = vendors.origin.removeprefix("http://")
    code = code.replace("https://hooks.example.com", vendors.origin).replace("https://example.com", receiver.origin)
    given = {"KEY_ID": identifier, "KEY_SECRET": secret, "TOKEN": vendors.token}
    if language == "sh":
        shell_with(program, folder)("".join(f"{name}='{value}'\n" for name, value in given.items()) + code)
    elif dialect == "sinch":
        plain = "client.configuration.disable_https = True\nclient.configuration.auth_origin"
        code = code.replace("client.configuration.auth_origin", plain).replace("hooks.example.com", authority)
        code = "".join(f"{name} = {value!r}\n" for name, value in given.items()) + code
        assert CLIENT.is_dir(), "./run.sh puts the client there when it sets up the environment"
        command = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(
            command, env={"PYTHONPATH": str(CLIENT)}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
    else:
        exec(compile(code, dialect, "exec"), given)


def sent(
    dialect: str, vendors: Vendors, settings: Settings, authority: Authority, folder: Path, program: str = "stand-in"
) -> tuple[Received, str]:
    """The callback that the webhook of the page's example gets for the page's message, and the same as text with the
    page's ids instead of its own."""
    page = shown(dialect)
    with receiver_for(dialect, authority) as receiver:
        run_client(dialect, vendors, receiver, folder, program)
        event = enqueue(page.headers["Dispatcher-Event-Type"], page.message.encode(), account="acme", app="app1")
        assert event.deliveries == 1
        deliver_all(settings.model_copy(update={"ca_bundle": authority.bundle}))
        (callback,) = [request for request in receiver.received if request.body != b"[]"]
    (webhook,) = rows(vendors.database, "SELECT id FROM dispatcher.webhooks")
    head = "\n".join([f"{callback.method} {callback.target} HTTP/1.1", *map(": ".join, callback.headers)])
    text = f"{head}\n\n{callback.body.decode()}"
    ids = {name: page.headers[name] for name in page.headers if re.fullmatch(r"Dispatcher-\w+-Id|Host", name)}
    for name, value in ids.items():
        text = text.replace(callback.header(name) or "", value)
    if dialect == "flexengage":
        on_page = json.loads(page.body)
        created = time_of(event.event_id).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = text.replace(str(webhook.id), on_page["webhookId"]).replace(created, on_page["created"])
    return callback, text


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_callback_that_is_shown_is_what_the_shown_clients_webhook_is_sent(
    vendors: Vendors, settings: Settings, authority: Authority, tmp_path: Path, dialect: str
) -> None:
    _, text = sent(dialect, vendors, settings, authority, tmp_path)
    page = shown(dialect)
    assert _SIGNED.sub(r"\1: at another time", text) == _SIGNED.sub(
        r"\1: at another time", f"{page.head}\n\n{page.body}"
    )


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if EXAMPLES[name, "client"][0] == "sh"])
def test_the_shown_commands_work_with_the_real_curl(
    vendors: Vendors, authority: Authority, tmp_path: Path, dialect: str
) -> None:
    with receiver_for(dialect, authority) as receiver:
        run_client(dialect, vendors, receiver, tmp_path, "curl")
    assert len(vendors.listed(dialect)) == 1


# How a callback is checked


def test_the_signature_that_is_shown_of_sinch_is_the_one_of_what_is_shown_and_the_shown_check_believes_it(
    vendors: Vendors, settings: Settings, authority: Authority, tmp_path: Path
) -> None:
    callback, _ = sent("sinch", vendors, settings, authority, tmp_path)
    page = shown("sinch")
    _, code = EXAMPLES["sinch", "verify"]

    def is_ours(headers: dict[str, str], body: bytes) -> bool:
        namespace: dict[str, Any] = {"headers": headers, "body": body}
        exec(compile(code, "sinch", "exec"), namespace)
        found: bool = namespace["is_ours"]
        return found

    assert is_ours(page.headers, page.body.encode())
    assert is_ours(dict(callback.headers), callback.body)
    assert not is_ours(dict(callback.headers), callback.body.replace(b"DELIVERED", b"FAILED"))


def test_the_signature_that_is_shown_of_flexengage_is_the_one_of_what_is_shown() -> None:
    page = shown("flexengage")
    (key,) = re.findall(r"whsec_\w+", PAGES["flexengage"])
    at = datetime.fromtimestamp(int(page.headers["webhook-timestamp"]), UTC)
    assert Webhook(key).sign(page.headers["webhook-id"], at, page.body) == page.headers["webhook-signature"]


def check_as_shown(key: str, callback: Received) -> Any:
    _, code = EXAMPLES["all", "verify"]
    namespace: dict[str, Any] = {"KEY": key, "headers": dict(callback.headers), "body": callback.body}
    exec(compile(code, "verify", "exec"), namespace)
    return namespace["message"]


@pytest.mark.parametrize("dialect", ["bulksms", "everlytic", "zipwhip"])
def test_a_vendor_that_signs_nothing_can_have_our_signature_and_the_shown_check_believes_it(
    vendors: Vendors,
    api: Api,
    manager: str,
    settings: Settings,
    receiver: Receiver,
    tmp_path: Path,
    dialect: str,
) -> None:
    webhook = vendors.make(dialect, receiver.url("/hook"))
    language, code = EXAMPLES["all", "sign"]
    assert language == "sh"
    code = code.replace("https://hooks.example.com", vendors.origin).replace("bulksms", dialect)
    printed = shell_with("stand-in", tmp_path)(f"TOKEN='{manager}'\nWEBHOOK='{webhook}'\n{code}")
    listed, rotated = [json.loads(line) for line in printed.splitlines() if line]
    assert [item["id"] for item in listed["items"]] == [str(webhook)] == [rotated["id"]]
    (key,) = rotated["signing_keys"]
    enqueue("message.outbound.delivered", {"id": 1}, account="acme")
    deliver_all(settings)
    callback = receiver.at("/hook")[-1]
    assert check_as_shown(key["secret"], callback) == json.loads(callback.body)
    with pytest.raises(WebhookVerificationError):
        check_as_shown("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", callback)


def test_the_key_of_a_webhook_of_flexengage_is_where_its_page_says(
    vendors: Vendors, settings: Settings, authority: Authority, tmp_path: Path, api: Api, manager: str
) -> None:
    callback, _ = sent("flexengage", vendors, settings, authority, tmp_path)
    (webhook,) = vendors.listed("flexengage")
    secrets = api.call("GET", f"/v1/webhooks/{webhook['id']}/secrets", token=manager).json()
    assert check_as_shown(secrets["signing_keys"][0]["secret"], callback)["brandId"] == "acme"


# What Node changes


def test_node_changes_what_the_page_of_sinch_says_and_nothing_else_of_it() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    lines = PAGES["sinch"].split("| in the message | what JavaScript makes of it |")[1].splitlines()
    numbers, expected = (re.findall(r"`([^`]+)`", cell) for cell in lines[2].strip("|").split("|"))
    (names,) = re.findall(r"`(\{[^`]+\})`", lines[4])
    script = "for (const text of process.argv.slice(1)) console.log(JSON.stringify(JSON.parse(text)))"
    cases = [*numbers, '{"a":1,"a":2}', names]
    done = subprocess.run([node, "-e", script, *cases], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [*expected, '{"a":2}', '{"7":2,"b":1}']


# Completeness


def test_every_example_is_named_and_run_here() -> None:
    assert sum(len(_EXECUTABLE.findall(text)) for text in PAGES.values()) == len(EXAMPLES)
    assert EXAMPLES.keys() == {(name, "client") for name in DIALECTS} | {
        ("sinch", "verify"),
        ("all", "sign"),
        ("all", "verify"),
    }
