"""A backend that sends events at a steady rate, for accounts in turn, and writes down what was accepted and when. Its
threads send at the same moments, so that groups form: one half by `enqueue`, the other half over HTTP.

Run as `sending_end LEDGER RATE TYPE API_PORT ROLE:ACCOUNT...` with a token in STORM_TOKEN, until it is killed. A line
is written before an event is sent, without a receipt, and another one after the answer.
"""

import http.client
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from dispatcher import enqueue
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.errors import Unavailable
from tests.faults.ledgers import Role, Sent, Way, write_line

TOKEN = "STORM_TOKEN"  # the variable's name
THREADS = 8
ACCEPTED, UNAVAILABLE = 202, 503
_AWAY = "08", "53", "57"  # classes of PostgreSQL's errors: connection, resources, operator
_HTTP_SECONDS = 12.0
_BODY = "x" * 500


class Sender:
    """What one thread sends."""

    def __init__(self, number: int, port: int, event_type: str) -> None:
        self.way, self._type = Way.API if number % 2 else Way.ENQUEUE, event_type
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_HTTP_SECONDS)
        self._headers = {"Authorization": f"Bearer {os.environ[TOKEN]}", "Content-Type": "application/json"}

    def send(self, number: str, account: str) -> dict[str, Any]:
        """What a `Sent` says of the outcome; nothing if it was not accepted, as far as is known. That the database or
        the API cannot be reached is a part of what is done to them; any other error is not promised."""
        data = {"n": number, "body": _BODY}
        try:
            if self.way is Way.API:
                return self._post(data, account)
            receipt = enqueue(self._type, data, account=account)
        except Unavailable:
            return {}
        except Exception as error:  # noqa: BLE001
            code = getattr(getattr(error, "orig", None), "pgcode", None)
            if isinstance(error, OperationalError) and (code or "08")[:2] in _AWAY:
                return {}
            return {"error": f"enqueue raised {type(error).__name__} {code or ''}".strip()}
        return {"event": str(receipt.event_id), "deliveries": receipt.deliveries}

    def _post(self, data: object, account: str) -> dict[str, Any]:
        body = json.dumps({"account": account, "type": self._type, "data": data}, separators=(",", ":"))
        try:
            self._connection.request("POST", "/v1/events", body, self._headers)
            answer = self._connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return {}
        if answer.status == ACCEPTED:
            return {"event": told["event_id"], "deliveries": told["deliveries"]}
        return {} if answer.status == UNAVAILABLE else {"error": f"the API answered {answer.status}: {told}"}


def main(ledger: Path, rate: float, event_type: str, port: int, accounts: Sequence[str]) -> None:
    # Each line is one write, which no other thread's comes between, and which a kill does not cut.
    lines, began = ledger.open("ab", buffering=0), time.monotonic()

    def run(thread: int) -> None:
        sender = Sender(thread, port, event_type)
        for turn in itertools.count():
            time.sleep(max(0.0, began + turn * THREADS / rate - time.monotonic()))
            number = f"s{os.getpid()}.{turn * THREADS + thread}"
            role, _, account = accounts[(turn + thread) % len(accounts)].partition(":")
            asked = time.monotonic()
            one = Sent(number, Role(role), asked, asked, event=None, deliveries=None, way=sender.way)
            lines.write(write_line(one).encode())
            outcome = sender.send(number, account)
            lines.write(write_line(replace(one, accepted=time.monotonic(), **outcome)).encode())

    def run_or_end(thread: int) -> None:
        try:
            run(thread)
        finally:
            os._exit(1)

    for thread in range(THREADS):
        threading.Thread(target=run_or_end, args=(thread,)).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5:])
