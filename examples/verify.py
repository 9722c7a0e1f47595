"""A receiver that checks the signature of every callback, using only Python's standard library.

    SIGNING_KEY=whsec_... python examples/verify.py [--port 9000]

The key is the one that `dispatcher webhook create` printed. Copy `is_ours` into your own receiver, or use one of the
libraries of https://www.standardwebhooks.com.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

TOLERANCE = 5 * 60  # seconds: an older callback may be a replay


def is_ours(headers: Mapping[str, str], body: bytes, key: str, now: float) -> bool:
    """Whether a callback was recently signed with the key. `body`: the bytes as they came, before any parsing."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdecimal() and abs(now - int(timestamp)) <= TOLERANCE):
        return False
    signed = f"{message_id}.{timestamp}.".encode() + body
    wanted = hmac.digest(base64.b64decode(key.removeprefix("whsec_")), signed, hashlib.sha256)
    signatures = headers.get("webhook-signature", "").split(" ")  # several while the key is being changed
    return any(hmac.compare_digest(b"v1," + base64.b64encode(wanted), signature.encode()) for signature in signatures)


class Handler(BaseHTTPRequestHandler):
    """Answers 204 to genuine callbacks, 401 to everything else."""

    key: str
    seen: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not is_ours(self.headers, body, self.key, time.time()):
            self.send_response(401)
        else:
            # The same event can come twice: one that was processed before is only acknowledged.
            if self.headers["webhook-id"] not in self.seen:
                self.seen.add(self.headers["webhook-id"])
                print(json.loads(body), flush=True)
            self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9000, help="port on 127.0.0.1 to listen on (default: 9000)")
    given = parser.parse_args()
    Handler.key = os.environ["SIGNING_KEY"]
    HTTPServer(("127.0.0.1", given.port), Handler).serve_forever()
