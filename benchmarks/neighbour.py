"""`./run.sh bench neighbour`: what is left to a receiver beside five whose answers never end.

Rounds alone and beside them take turns, on one transport, as a worker has it. The hostile ones get their next request a
second after the last one ended: the engine gives them far fewer. All time is CPU time of the transport, which has one
core: the hostile ones share this machine, and would take its other cores.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path
from time import thread_time

from benchmarks.certificate import self_signed
from benchmarks.flooder import HTTP2, KINDS
from benchmarks.receivers import own_receiver
from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.ids import new_id_text
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.exchange import Exchange, Request
from dispatcher.transport.port import Transport

HOSTILE = 5
LEAST = 0.95
_IN_FLIGHT = 32
_AGAIN_SECONDS = 1.0
_BODY = b'[{"text":"bench-end"}]'


def beside_hostile_receivers(seconds: float, rounds: int, say: Callable[[str], None]) -> bool:
    """Measures each kind and says what was found. Returns whether all leave the neighbour what they must."""
    good = True
    with tempfile.TemporaryDirectory() as name, own_receiver(Path(name), len(_BODY)) as receiver:
        pem = self_signed(Path(name, "receiver.pem"))
        for kind in KINDS:
            with _flooders(kind, pem) as hostile:
                share = _share(receiver.url(), hostile, pem, seconds, rounds)
            good = good and share >= LEAST
            say(f"{kind:16} {share:7.1%}{'' if share >= LEAST else f'   less than {LEAST:.0%}'}")
    return good


def _share(url: str, hostile: list[str], pem: Path, seconds: float, rounds: int) -> float:
    """What is left to the neighbour, as a part of what it gets alone: the median of the rounds."""
    transport = CurlTransport(capacity=128, addresses=_here(), ca_bundle=pem)
    try:
        _rate(transport, url, [], seconds)  # to warm up
        shares = []
        for _ in range(rounds):
            alone = _rate(transport, url, [], seconds)
            shares.append(_rate(transport, url, hostile, seconds) / alone)
        return statistics.median(shares)
    finally:
        transport.close()


def _rate(transport: Transport, url: str, hostile: list[str], seconds: float) -> float:
    """Answers of the neighbour for each second of CPU. What is in flight at the end is waited for."""
    began = thread_time()
    until = began + seconds
    answers = in_flight = 0
    due = [(began, one) for one in hostile]
    while (now := thread_time()) < until or in_flight:
        for _, one in [one for one in due if one[0] <= now < until]:
            transport.send(_request(one, timeout=5))
            in_flight += 1
        due = [one for one in due if one[0] > now]
        while now < until and in_flight < _IN_FLIGHT + len(hostile):
            transport.send(_request(url, timeout=30))
            in_flight += 1
        for exchange in transport.wait(0.05):
            in_flight -= 1
            answers += _is_answer(exchange, url)
            if exchange.request.url != url:
                due.append((thread_time() + _AGAIN_SECONDS, exchange.request.url))
    return answers / (thread_time() - began)


def _request(url: str, timeout: float) -> Request:
    return Request(new_id_text(), "POST", url, (("Content-Type", "application/json"),), _BODY, 5, timeout)


def _is_answer(exchange: Exchange, url: str) -> bool:
    return exchange.request.url == url and getattr(exchange.outcome, "status", None) == 204


def _here() -> AddressPolicy:
    return AddressPolicy(networks=(ip_network(f"{LOOPBACK}/32"),), ports=frozenset())


@contextmanager
def _flooders(kind: str, pem: Path) -> Iterator[list[str]]:
    """The URLs of five receivers of this kind, each a process of its own."""
    scheme = "https" if kind in HTTP2 else "http"
    with ExitStack() as stack:
        urls = []
        for _ in range(HOSTILE):
            words = [sys.executable, "-I", str(Path(__file__).with_name("flooder.py")), kind, str(pem)]
            process = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            urls.append(f"{scheme}://{LOOPBACK}:{int(process.stdout.readline())}/")
        yield urls
