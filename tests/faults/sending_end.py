"""A backend that sends events at a steady rate, for accounts in turn, and writes down what was accepted and when. Its
threads send at the same moments, so that groups form: one half by `enqueue`, the other half over HTTP.

Run as `sending_end LEDGER RATE TYPE API_PORT ACCOUNT...` with a token in STORM_TOKEN, until it is killed. A line is
written before an event is sent, without a receipt, and another one after the answer.
"""

import http.client
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from dispatcher import enqueue
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.errors import DispatcherError, Unavailable
from tests.faults.ledgers import Role, Sent, write_line

TOKEN = "STORM_TOKEN"  # the variable's name
THREADS = 8
_HTTP_SECONDS = 12.0
_BODY = "x" * 500


class Sender:
    """What one thread sends."""

    def __init__(self, number: int, port: int, event_type: str) -> None:
        self._over_http, self._type = number % 2 == 1, event_type
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_HTTP_SECONDS)
        self._headers = {"Authorization": f"Bearer {os.environ[TOKEN]}", "Content-Type": "application/json"}

    def send(self, number: str, account: str) -> tuple[str, int] | None:
        """The event and its deliveries; None if it was not accepted, as far as is known. What is unavailable is part of
        a storm; any other error is raised."""
        data = {"n": number, "body": _BODY}
        try:
            if self._over_http:
                return self._post(data, account)
            receipt = enqueue(self._type, data, account=account)
        except DispatcherError as error:
            if not isinstance(error, Unavailable):
                raise
        except Exception as error:  # noqa: BLE001
            print(f"{number}: {type(error).__name__}", file=sys.stderr)
        else:
            return str(receipt.event_id), receipt.deliveries
        return None

    def _post(self, data: object, account: str) -> tuple[str, int] | None:
        body = json.dumps({"account": account, "type": self._type, "data": data}, separators=(",", ":"))
        try:
            self._connection.request("POST", "/v1/events", body, self._headers)
            answer = self._connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if answer.status not in {202, 503}:
            os.write(2, f"the API answered {answer.status}: {told}\n".encode())
            os._exit(1)
        return (told["event_id"], told["deliveries"]) if answer.status == 202 else None


def main(ledger: Path, rate: float, event_type: str, port: int, accounts: Sequence[str]) -> None:
    # Each line is one write, which no other thread's comes between, and which a kill does not cut.
    lines, began = ledger.open("ab", buffering=0), time.monotonic()

    def run(thread: int) -> None:
        sender = Sender(thread, port, event_type)
        for turn in itertools.count():
            time.sleep(max(0.0, began + turn * THREADS / rate - time.monotonic()))
            number, account = f"s{os.getpid()}.{turn * THREADS + thread}", accounts[(turn + thread) % len(accounts)]
            asked = time.monotonic()
            lines.write(write_line(Sent(number, Role.STEADY, asked, asked, None, None)).encode())
            accepted = sender.send(number, account) or (None, None)
            lines.write(write_line(Sent(number, Role.STEADY, asked, time.monotonic(), *accepted)).encode())

    def run_or_end(thread: int) -> None:
        try:
            run(thread)
        finally:
            os._exit(1)

    for thread in range(THREADS):
        threading.Thread(target=run_or_end, args=(thread,)).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5:])
