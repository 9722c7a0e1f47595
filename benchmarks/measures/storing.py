"""How long an account's events take to be stored beside what another account does at the same API. No worker runs."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress

from benchmarks.bench import Bench
from benchmarks.http_client import NotAccepted, connect, exchange
from benchmarks.measures.accounts import CROWD
from benchmarks.measures.http import Served, new_key, one_event, serving
from benchmarks.targets import Sample, percentile
from benchmarks.workload import ALL, message
from dispatcher import enqueue

_EVERY = 0.005  # seconds between two events of the account that is looked at
_SECONDS = 5.0  # at least: of fewer events there is no p99
_WARM_UP = 0.5
_WAITING = 8  # requests with a key that an open transaction holds
_FLOODS = 16  # connections that send without a pause
_FAN_OUTS = 2.0  # seconds between two events for all webhooks: about as many deliveries as can be made meanwhile


def beside(bench: Bench) -> Sample:
    """`p99_ms` of an account's answers when nobody else sends; `..._held`, when requests of another account wait for a
    key that its open transaction holds; `..._fan_out`, beside its events for 20,001 webhooks; `..._flood`, beside 16
    busy connections of it, and `..._many`, beside 16 of 16 other accounts."""
    url = bench.servers.receiver.url(CROWD)
    fleet, other = bench.fleet([url]), bench.fleet([url] * bench.size.many_webhooks)
    others = [bench.fleet([f"{url}?n={number}"]) for number in range(_FLOODS)]
    bench.end_worker()
    bench.clear()
    with serving(bench, fleet) as served:
        key = new_key(bench, other)
        plain = one_event(key, message())
        figures = _measured(bench, served, "", [])
        figures |= _measured(bench, served, "_many", [one_event(new_key(bench, one), message()) for one in others])
        figures |= _measured(bench, served, "_flood", [plain] * _FLOODS)
        figures |= _measured(bench, served, "_fan_out", [one_event(key, message(), ALL)], pause=_FAN_OUTS)
        with bench.servers.installation.transaction() as session:
            enqueue(
                "bench.w0",
                message(),
                account=other.account,
                idempotency_key="held",
                session=session,
                producer=bench.servers.installation,
            )
            held = plain.replace(b"\r\n\r\n", b"\r\nidempotency-key: held\r\n\r\n", 1)
            figures |= _measured(bench, served, "_held", [held] * _WAITING)
    return figures


def _measured(
    bench: Bench, served: Served, name: str, requests: Sequence[bytes], *, pause: float = 0
) -> dict[str, float]:
    """Beside a connection for each of these requests, which sends it again and again."""
    port, delays = served.ports[0], list[float]()
    with ExitStack() as stack:
        for request in requests:
            stack.enter_context(_sending(port, request, pause))
        own, mine = stack.enter_context(connect(port)), one_event(served.token, message())
        begins = time.monotonic()
        rounds = int((_WARM_UP + max(bench.size.seconds, _SECONDS)) / _EVERY)
        for number in range(rounds):
            time.sleep(max(0, begins + number * _EVERY - time.monotonic()))
            began = time.monotonic()
            exchange(own, mine)
            delays.append(time.monotonic() - began)
    counted = delays[int(_WARM_UP / _EVERY) :]
    return {f"p50_ms{name}": percentile(counted, 0.5) * 1000, f"p99_ms{name}": percentile(counted, 0.99) * 1000}


@contextmanager
def _sending(port: int, request: bytes, pause: float) -> Iterator[None]:
    """Sends a request again and again, whatever the answer, until the block ends."""
    ended = threading.Event()
    connection = connect(port)

    def send() -> None:
        with suppress(OSError, NotAccepted), closing(connection):
            while not ended.is_set():
                exchange(connection, request)
                ended.wait(pause)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # it may wait for an answer
        thread.join()
