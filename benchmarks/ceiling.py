"""The baseline `ceiling`: only the product's transport, as the engine uses it; nothing is claimed or recorded.

`python -m benchmarks.ceiling URL MESSAGE` sends until it is killed.
"""

import sys

from dispatcher.ids import new_id_text
from dispatcher.settings import read_settings
from dispatcher.transport.choice import new_transport
from dispatcher.transport.exchange import Request
from dispatcher.version import USER_AGENT

IN_FLIGHT = 100


def send_for_ever(url: str, body: bytes) -> None:
    transport = new_transport(read_settings())
    identifier = new_id_text()
    headers = (
        ("User-Agent", USER_AGENT),
        ("Content-Type", "application/json"),
        ("Dispatcher-Event-Id", identifier),
        ("Dispatcher-Event-Type", "bench.w0"),
        ("Dispatcher-Delivery-Id", identifier),
        ("Dispatcher-Attempt", "1"),
        ("Dispatcher-Request-Id", identifier),
    )
    room = min(transport.capacity, IN_FLIGHT)
    while True:
        for _ in range(room):
            transport.send(Request(new_id_text(), "POST", url, headers, body, connect_timeout=10, timeout=30))
        room = len(transport.wait(1.0))


if __name__ == "__main__":
    send_for_ever(sys.argv[1], b"[" + sys.argv[2].encode() + b"]")
