"""A receiver of callbacks: verifies each request, and keeps its body in a folder for a worker of yours.

    SIGNING_KEYS='whsec_...' INBOX=/var/lib/inbox python receiver.py [PORT]

Python 3.11 or newer, its standard library only. Several keys are separated by spaces.
"""

import base64
import hashlib
import hmac
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

TOLERANCE = 5 * 60  # seconds: an older request may be a recorded one
MAX_BODY = 2 * 1024 * 1024  # bytes: callbacks have less


def keys_in(text: str) -> list[bytes]:
    """The secrets of the keys. With an empty secret, anybody could sign: such a program must not start."""
    secrets = [base64.b64decode(key.removeprefix("whsec_") + "==") for key in text.split() if key.startswith("whsec_")]
    if len(secrets) != len(text.split()) or not secrets or min(map(len, secrets)) < 24:
        raise SystemExit("SIGNING_KEYS must be keys that begin with whsec_, separated by spaces")
    return secrets


def refusal(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], now: float) -> str | None:
    """Why a request is no callback; None if it is one. `body`: the bytes as they came, before any parsing."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    signatures = headers.get("webhook-signature", "")
    if not (re.fullmatch(r"[\w.-]{1,100}", message_id, re.ASCII) and timestamp and signatures):
        return "not signed"
    signed = f"{message_id}.{timestamp}.".encode() + body
    wanted = [b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys]
    made = [signature.encode() for signature in signatures.split(" ")]  # several while a key is being changed
    if not any(hmac.compare_digest(ours, theirs) for ours in wanted for theirs in made):
        return "made with another key, or the body was changed"
    if not re.fullmatch(r"[0-9]{1,10}", timestamp) or abs(now - int(timestamp)) > TOLERANCE:
        return "made more than five minutes ago, or ahead of this clock"
    return None


def keep(inbox: Path, message_id: str, body: bytes) -> None:
    """Hands the callback over to a worker, once. Raises if it cannot: then the callback comes again.

    The worker empties a file when it has done what it says, and removes it after three days: until then, the same
    callback can come again. A table with the id as its primary key does the same.
    """
    file = inbox / f"{message_id}.json"
    if not file.exists():
        with tempfile.NamedTemporaryFile(dir=inbox, prefix="part-", delete=False) as part:
            part.write(body)
        Path(part.name).rename(file)  # now it is there as a whole


class Handler(BaseHTTPRequestHandler):
    keys: ClassVar[list[bytes]]
    inbox: ClassVar[Path]
    timeout = 30.0

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not re.fullmatch(r"[0-9]{1,10}", length) or int(length) > MAX_BODY:
            return self.answer(413, "a body of at most 2 MiB, with its length")
        body = self.rfile.read(int(length))
        if body.strip() == b"[]":
            return self.answer(204)  # the URL verification: it carries nothing, and no key is known yet
        why = refusal(self.headers, body, self.keys, time.time())
        if why is not None:
            return self.answer(503, f"not verified: {why}")  # not 4xx: with a wrong key here, messages would be lost
        try:
            keep(self.inbox, self.headers["webhook-id"], body)
        except OSError as error:
            print(error, file=sys.stderr)
            return self.answer(500, "not kept: send it again")
        return self.answer(204)

    do_PUT = do_POST  # noqa: N815 - named by the standard library

    def answer(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    Handler.keys, Handler.inbox = keys_in(os.environ.get("SIGNING_KEYS", "")), Path(os.environ["INBOX"])
    port = int(sys.argv[1]) if sys.argv[1:] else 9000
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
