"""A backend that enqueues events at a steady rate, for accounts in turn, and writes down what was accepted and when.

Run as `sending_end LEDGER RATE TYPE ACCOUNT...`, until SIGTERM.
"""

import itertools
import signal
import sys
import time
from pathlib import Path

from dispatcher import enqueue
from dispatcher.errors import DispatcherError
from tests.faults.ledgers import Role, Sent, write_line


def main(ledger: Path, rate: float, event_type: str, accounts: list[str]) -> None:
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this ends it
    began = time.monotonic()
    with ledger.open("a", buffering=1) as lines:
        for count, account in enumerate(itertools.cycle(accounts)):
            time.sleep(max(0.0, began + count / rate - time.monotonic()))
            if stopping:
                return
            lines.write(write_line(_send(f"s{count}", event_type, account)))


def _send(number: str, event_type: str, account: str) -> Sent:
    asked = time.monotonic()
    try:
        receipt = enqueue(event_type, {"n": number, "body": "x" * 500}, account=account)
    except DispatcherError:
        raise
    except Exception as error:  # noqa: BLE001 - what is unavailable is part of a storm
        print(f"{number}: {type(error).__name__}", file=sys.stderr)
        return Sent(number, Role.STEADY, asked, time.monotonic(), None, None)
    return Sent(number, Role.STEADY, asked, time.monotonic(), str(receipt.event_id), receipt.deliveries)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:])
