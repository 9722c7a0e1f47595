"""The programs of examples/receiving, each run by the command that its head names, and what all of them must do."""

import base64
import hashlib
import hmac
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from dispatcher.signing.keys import KeyKind, SigningKey, generate_signing_key
from dispatcher.signing.signer import Signer
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.secrets import WebhookSecrets
from tests.dead_ports import refusing_port
from tests.factories import deliver_all, deliveries, make_webhook
from tests.process_table import eventually

FOLDER = Path(__file__).parents[1] / "examples" / "receiving"
COMMANDS = {
    "python": (sys.executable, "receiver.py", "PORT"),
    "node": ("node", "receiver.mjs", "PORT"),
    "php": ("php", "-S", "127.0.0.1:PORT", "receiver.php"),
    "ruby": ("rackup", "--port", "PORT", "receiver.ru"),
    "go": ("go", "run", "receiver.go", "PORT"),
    "java": ("java", "Receiver.java", "PORT"),
}

# How each compares in constant time, which no answer shows.
COMPARES = {
    "python": "hmac.compare_digest(",
    "node": "timingSafeEqual(",
    "php": "hash_equals(",
    "ruby": "OpenSSL.secure_compare(",
    "go": "hmac.Equal(",
    "java": "MessageDigest.isEqual(",
}

NOT_SIGNED = (503, "not verified: not signed")
ANOTHER_KEY = (503, "not verified: made with another key, or the body was changed")
ANOTHER_TIME = (503, "not verified: made more than five minutes ago, or ahead of this clock")
NOT_KEPT = (500, "not kept: send it again")
TAKEN = (204, "")

# Published: with Standard Webhooks, and in our own tests of signatures. They are old, and the time is checked last.
VECTORS = [
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "msg_vector1",
        1700000000,
        '{"type":"sms.delivered","data":{"text":"café"}}'.encode(),
        "v1,j7kqXg1Szl0UXKHQgShhnrsuPrVTUu5sBwGKaj6hzrY=",
    ),
]
LARGEST = 2 * 1024 * 1024


def in_each_language(*languages: str) -> pytest.MarkDecorator:
    """For each of these a test; skipped, which is printed, where the language is not on the path."""
    return pytest.mark.parametrize(
        "language",
        [
            pytest.param(
                name,
                marks=pytest.mark.skipif(not shutil.which(COMMANDS[name][0]), reason=f"no {COMMANDS[name][0]} here"),
            )
            for name in languages
        ],
    )


@dataclass
class Running:
    """A receiver that runs, and its inbox."""

    port: int
    inbox: Path

    def answer(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        """What it answers to a request: the status and its text."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("POST", "/hook", body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()

    def kept(self) -> dict[str, bytes]:
        """The bodies in the inbox, by id."""
        return {file.name.removesuffix(".json"): file.read_bytes() for file in self.inbox.iterdir()}


@contextmanager
def running(language: str, keys: str, inbox: Path, folder: Path = FOLDER) -> Iterator[Running | str]:
    """The program of this language in `folder` with these keys; what it said, if it has ended at once."""
    command = COMMANDS[language]
    port = refusing_port()
    process = subprocess.Popen(
        [word.replace("PORT", str(port)) for word in command],
        cwd=folder,
        env={**os.environ, "SIGNING_KEYS": keys, "INBOX": str(inbox)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # `go run` starts another process
    )
    try:
        assert eventually(
            lambda: process.poll() is not None or _listens(port), within=600
        )  # Go compiles all that it imports, once
        if process.poll() is None:
            yield Running(port, inbox)
        else:
            yield process.communicate()[1]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def signed(message_id: str, body: bytes, *keys: SigningKey, late: int = 0) -> tuple[dict[str, str], bytes]:
    """A request as the engine signs it."""
    signer = Signer(WebhookSecrets(signing_keys=keys), DeliveryContract())
    return dict(signer.headers(message_id, "nonce", body, time.time() - late)), body


def signed_by_hand(message_id: str, timestamp: str, body: bytes, secret: bytes) -> tuple[dict[str, str], bytes]:
    """A request as the engine never signs it."""
    made = hmac.digest(secret, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    signature = "v1," + base64.b64encode(made).decode()
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}, body


def requests_with_answers(key: SigningKey) -> dict[str, tuple[tuple[dict[str, str], bytes], tuple[int, str]]]:
    """By what is special about it: a request, and its answer. All that are taken have a body of their own."""
    foreign, now = generate_signing_key(), str(int(time.time()))
    ours, body = signed("ours", '[{"body":"Grüße 👋","cost":1.50}]'.encode(), key)
    found = {
        "ours": ((ours, body), TAKEN),
        "again": ((ours, body), TAKEN),
        "upper case": (({name.upper(): value for name, value in ours.items()}, body), TAKEN),
        "any bytes": (signed("bytes", b'["\xff\r\n"]', key), TAKEN),
        "while the key is changed": (signed("changing", b"[1]", foreign, key), TAKEN),
        "with the next key": (signed("next", b"[2]", SigningKey(VECTORS[0][0])), TAKEN),
        "almost too late": (signed("late", b"[3]", key, late=280), TAKEN),
        "of another": (signed("x", b"[4]", foreign), ANOTHER_KEY),
        "of another kind": (signed("x", b"[4]", generate_signing_key(KeyKind.ED25519)), ANOTHER_KEY),
        "other body": ((ours, body + b" "), ANOTHER_KEY),
        "other id": (({**ours, "webhook-id": "x"}, body), ANOTHER_KEY),
        "other time": (({**ours, "webhook-timestamp": str(int(now) + 100)}, body), ANOTHER_KEY),
        "other version": (({**ours, "webhook-signature": f"v2{ours['webhook-signature'][2:]}"}, body), ANOTHER_KEY),
        "no signature": (({**ours, "webhook-signature": "v1"}, body), ANOTHER_KEY),
        "not signed": (({}, body), NOT_SIGNED),
        "no id": (({**ours, "webhook-id": ""}, body), NOT_SIGNED),
        "no name of a file": (signed("../x", b"[4]", key), NOT_SIGNED),
        "too old": (signed("x", b"[4]", key, late=320), ANOTHER_TIME),
        "ahead": (signed("x", b"[4]", key, late=-320), ANOTHER_TIME),
        "no time": (signed_by_hand("x", "9" * 5000, b"[4]", key.key), ANOTHER_TIME),
        "a time with more": (signed_by_hand("x", f"{now}.5", b"[4]", key.key), ANOTHER_TIME),
        "URL verification": (({}, b"[]"), TAKEN),
        "URL verification, signed": (signed("x", b"[]", foreign), TAKEN),
    }
    for _, message_id, timestamp, text, signature in VECTORS:
        headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}
        found[message_id] = ((headers, text), ANOTHER_TIME)
        found[f"{message_id}, changed"] = ((headers, text + b" "), ANOTHER_KEY)
    return found


def assert_it_takes_what_is_ours_once_and_nothing_else(
    language: str, database: Engine, settings: Settings, tmp_path: Path
) -> None:
    key = generate_signing_key()
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with running(language, " ".join([key.secret, *(vector[0] for vector in VECTORS)]), inbox) as receiver:
        assert isinstance(receiver, Running), receiver
        url = f"http://127.0.0.1:{receiver.port}/hook"
        make_webhook(database, settings, url=url, signing_keys=[key], event_types=["ours"])
        make_webhook(database, settings, url=url, event_types=["foreign"])
        sent = enqueue("ours", {"id": "7"}, account="acme")
        enqueue("foreign", {"planted": "by somebody else"}, account="acme")
        deliver_all(settings)
        # What cannot be verified is not discarded: a key may be wrong.
        assert sorted(row.state for row in deliveries(database)) == ["delivered", "waiting"]
        (event,) = receiver.kept().items()
        assert event == (str(sent.event_id), b'[{"id":"7"}]')

        cases = requests_with_answers(key)
        assert {name: receiver.answer(*request) for name, (request, _) in cases.items()} == {
            name: answer for name, (_, answer) in cases.items()
        }
        taken = dict([event])
        taken |= {
            headers.get("webhook-id", headers.get("WEBHOOK-ID", "")): body
            for (headers, body), answer in cases.values()
            if answer == TAKEN and body != b"[]"
        }
        assert receiver.kept() == taken

        # What a worker has done stays done.
        request, _ = cases["again"]
        (inbox / "ours.json").write_bytes(b"")
        assert receiver.answer(*request) == TAKEN
        taken["ours"] = b""
        assert receiver.kept() == taken

        too_large = signed("large", b"0" * (LARGEST + 1), key)
        with suppress(OSError):  # it may close the connection before it has read all of it
            assert receiver.answer(*too_large)[0] == 413
        assert receiver.kept() == taken

        moved = inbox.rename(tmp_path / "away")
        unlucky = signed("unlucky", b"[5]", key)
        assert receiver.answer(*unlucky) == NOT_KEPT
        moved.rename(inbox)
        assert receiver.answer(*unlucky) == TAKEN
        assert receiver.kept() == {**taken, "unlucky": b"[5]"}


def assert_it_does_not_run_without_a_secret(language: str, tmp_path: Path) -> None:
    """With an empty one, everybody could sign."""
    for keys in ("", "whsec_"):
        with running(language, keys, tmp_path) as receiver:
            if isinstance(receiver, Running):  # PHP has no start: each request is one
                assert receiver.answer(*signed_by_hand("x", str(int(time.time())), b"[1]", b"")) == NOT_KEPT
            else:
                assert "SIGNING_KEYS" in receiver
    assert list(tmp_path.iterdir()) == []
