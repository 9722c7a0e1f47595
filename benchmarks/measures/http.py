"""Events over HTTP: one in each request, and batches of 100."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TypeAlias
from urllib.request import urlopen

from benchmarks.bench import Bench
from benchmarks.cpu import Look, look
from benchmarks.engine import Node, api, node
from benchmarks.follow import wait_for
from benchmarks.http_client import post
from benchmarks.targets import Sample, percentile
from benchmarks.workload import ALL, BY, Fleet, message
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.embedded.servers.ports import LOOPBACK, free_port

_WARM_UP = 0.7
_UNLIMITED = {  # counted, as usual
    "DISPATCHER_API_REQUESTS_PER_MINUTE": "100000000",
    "DISPATCHER_ACCOUNT_LIMITS": "events_per_second=100000000,events_per_day=100000000000,reads_per_minute=100000000",
}
_CONNECTIONS = (1, 8, 64, 256)


Figures: TypeAlias = dict[str, float]


@dataclass(frozen=True, slots=True)
class Served:
    """Running servers that take events, and a key to call them with."""

    nodes: tuple[Node, ...]
    ports: tuple[int, ...]
    token: str

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(one.pid for one in self.nodes)


def http_single(bench: Bench) -> Sample:
    """Without a worker: `rate_<connections>`, `p50_ms_...`, `p99_ms_...`, and CPU time of API and PostgreSQL for each
    event. `..._keys`: 8 connections, each event with an idempotency key. `..._fifty`: 8, and 50 webhooks take each."""
    figures: Figures = {}
    with _api_alone(bench) as served:
        for connections in _CONNECTIONS:
            figures |= _measured(bench, served, events(served.token), connections, str(connections))
        figures |= _measured(bench, served, events(served.token, keys=True), 8, "keys")
        fifty = new_key(bench, bench.fleet([bench.servers.receiver.url()] * 50))
        figures |= _measured(bench, served, events(fifty, event_type=ALL), 8, "fifty")
    return figures


def http_two(bench: Bench) -> Sample:
    """The same with 8 and 256 connections, divided between two API processes on ports of their own."""
    figures: Figures = {}
    with _api_alone(bench, processes=2) as served:
        for connections in (8, 256):
            figures |= _measured(bench, served, events(served.token), connections, str(connections))
    return figures


def http_bare(bench: Bench) -> Sample:
    """The same of the baseline."""
    bench.end_worker()
    port, figures = free_port(), Figures()
    with node(bench.servers, "bare", [sys.executable, "-P", "-m", "benchmarks.bare_api", str(port)]) as running:
        wait_for(lambda: _answers(port), running, within=30)
        for connections in _CONNECTIONS:
            figures |= _measured(bench, Served((running,), (port,), "-"), events("-"), connections, str(connections))
    return figures


def http_batch(bench: Bench) -> Sample:
    """Batches of 100 from 4 connections: `rate` in events."""
    with _api_alone(bench) as served:
        figures = _measured(bench, served, batches(served.token, ["bench.w0"]), 4, "batches")
    return {"rate": figures["rate_batches"] * 100}


def _measured(bench: Bench, served: Served, make: Callable[[], bytes], connections: int, name: str) -> Figures:
    parts = {"api": served.pids, "postgres": (bench.servers.postgres.process.pid,)}
    looks: list[Look] = []
    answers = post(
        served.ports,
        make,
        connections=connections,
        seconds=bench.size.seconds,
        warm_up=_WARM_UP,
        begun=lambda: looks.append(look(parts, 0)),
        ended=lambda: looks.append(look(parts, 0)),
    )
    first, last = looks
    used = {part: (last.cpu[part] - first.cpu[part]) / answers.count * 1e6 for part in parts}
    return {
        f"rate_{name}": answers.count / answers.seconds,
        f"p50_ms_{name}": percentile(answers.delays, 0.5) * 1000,
        f"p99_ms_{name}": percentile(answers.delays, 0.99) * 1000,
        **{f"{part}_us_{name}": value for part, value in used.items()},
    }


@contextmanager
def _api_alone(bench: Bench, *, processes: int = 1) -> Iterator[Served]:
    """A running API without a worker, with a key of an account that has one webhook."""
    fleet = bench.fleet([bench.servers.receiver.url()])
    bench.end_worker()
    bench.clear()
    with serving(bench, fleet, processes=processes) as served:
        # The first requests make a process load and connect what it needs.
        post(served.ports, events(served.token), connections=8, seconds=_WARM_UP, warm_up=0, begun=lambda: None)
        yield served


@contextmanager
def serving(
    bench: Bench, fleet: Fleet, *, processes: int = 1, env: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """A running API, with a key of the fleet's account; keys may call as often as they can."""
    ports = tuple(free_port() for _ in range(processes))
    with ExitStack() as stack:
        nodes = tuple(stack.enter_context(api(bench.servers, port, {**_UNLIMITED, **(env or {})})) for port in ports)
        for running, port in zip(nodes, ports, strict=True):
            wait_for(partial(_answers, port), running, within=60)
        yield Served(nodes, ports, new_key(bench, fleet))


def new_key(bench: Bench, fleet: Fleet) -> str:
    """A key that may send events for the fleet's account."""
    with bench.servers.installation.transaction() as session:
        return create_key(session, by=BY, account=fleet.account, scopes=[Scope.SEND]).token


def events(token: str, *, keys: bool = False, event_type: str = "bench.w0") -> Callable[[], bytes]:
    """Requests with one event each; with `keys`, each has an idempotency key of its own."""
    plain = one_event(token, message(), event_type)
    if not keys:
        return lambda: plain
    numbers = count()
    return lambda: plain.replace(b"\r\n\r\n", b"\r\nidempotency-key: bench-%d\r\n\r\n" % next(numbers), 1)


def one_event(token: str, data: bytes, event_type: str = "bench.w0") -> bytes:
    """A request with one event."""
    return _request(token, "/v1/events", b'{"type": "%b", "data": %b}' % (event_type.encode(), data))


def batches(token: str, event_types: Sequence[str]) -> Callable[[], bytes]:
    """Requests with 100 events each, of these types in turn."""
    data = json.loads(message())
    of_types = [{"type": event_types[number % len(event_types)], "data": data} for number in range(100)]
    request = _request(token, "/v1/events/batch", json.dumps({"events": of_types}).encode())
    return lambda: request


def _request(token: str, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {token}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://{LOOPBACK}:{port}/healthz", timeout=2) as answer:
            return bool(answer.status < 300)
    except OSError:
        return False
