"""Events over HTTP: one in each request, and batches of 100."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias
from urllib.request import urlopen

from benchmarks.bench import Bench
from benchmarks.cpu import cpu_seconds
from benchmarks.engine import Node, api, node
from benchmarks.follow import wait_for
from benchmarks.http_client import post
from benchmarks.targets import Sample, percentile
from benchmarks.workload import ALL, BY, message
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.embedded.servers.ports import LOOPBACK, free_port

_WARM_UP = 0.7
_UNLIMITED = {"DISPATCHER_API_REQUESTS_PER_MINUTE": "100000000"}  # counted, as usual
_CONNECTIONS = (1, 8, 64, 256)


Figures: TypeAlias = dict[str, float]


@dataclass(frozen=True, slots=True)
class _Served:
    """A running server, and a key to call it with."""

    node: Node
    port: int
    token: str


def http_single(bench: Bench) -> Sample:
    """Without a worker: `rate_<connections>`, `p50_ms_...`, `p99_ms_...`, and CPU time of API and PostgreSQL for each
    event. `..._keys`: 8 connections, each event with an idempotency key. `..._fifty`: 8, and 50 webhooks take each."""
    figures: Figures = {}
    with _api(bench) as served:
        for connections in _CONNECTIONS:
            figures |= _measured(bench, served, _events(served.token), connections, str(connections))
        figures |= _measured(bench, served, _events(served.token, keys=True), 8, "keys")
    with _api(bench, webhooks=50) as served:
        figures |= _measured(bench, served, _events(served.token, event_type=ALL), 8, "fifty")
    return figures


def http_bare(bench: Bench) -> Sample:
    """The same of the baseline."""
    bench.end_worker()
    port, figures = free_port(), Figures()
    with node(bench.servers, "bare", [sys.executable, "-P", "-m", "benchmarks.bare_api", str(port)]) as running:
        wait_for(lambda: _answers(port), running, within=30)
        for connections in _CONNECTIONS:
            figures |= _measured(bench, _Served(running, port, "-"), _events("-"), connections, str(connections))
    return figures


def http_batch(bench: Bench) -> Sample:
    """Batches of 100 from 4 connections: `rate` in events."""
    with _api(bench) as served:
        event = {"type": "bench.w0", "data": json.loads(message())}
        body = json.dumps({"events": [event] * 100}).encode()
        request = _request(served.token, "/v1/events/batch", body)
        figures = _measured(bench, served, lambda: request, 4, "batches")
    return {"rate": figures["rate_batches"] * 100}


def _measured(bench: Bench, served: _Served, make: Callable[[], bytes], connections: int, name: str) -> Figures:
    roots = {"api": served.node.pid, "postgres": bench.servers.postgres.process.pid}
    before: dict[str, float] = {}
    answers = post(
        served.port,
        make,
        connections=connections,
        seconds=bench.size.seconds,
        warm_up=_WARM_UP,
        begun=lambda: before.update({part: cpu_seconds(root) for part, root in roots.items()}),
    )
    used = {part: (cpu_seconds(root) - before[part]) / answers.count * 1e6 for part, root in roots.items()}
    return {
        f"rate_{name}": answers.count / answers.seconds,
        f"p50_ms_{name}": percentile(answers.delays, 0.5) * 1000,
        f"p99_ms_{name}": percentile(answers.delays, 0.99) * 1000,
        **{f"{part}_us_{name}": value for part, value in used.items()},
    }


@contextmanager
def _api(bench: Bench, webhooks: int = 1) -> Iterator[_Served]:
    """A running API, with a key of an account that has so many webhooks."""
    servers = bench.servers
    fleet = bench.fleet([servers.receiver.url()] * webhooks)
    bench.end_worker()
    bench.clear()
    with servers.installation.transaction() as session:
        token = create_key(session, by=BY, account=fleet.account, scopes=[Scope.SEND]).token
    port = free_port()
    with api(servers, port, _UNLIMITED) as running:
        wait_for(lambda: _answers(port), running, within=60)
        yield _Served(running, port, token)


def _events(token: str, *, keys: bool = False, event_type: str = "bench.w0") -> Callable[[], bytes]:
    body = json.dumps({"type": event_type, "data": json.loads(message())}).encode()
    numbers = count()
    plain = _request(token, "/v1/events", body)
    if not keys:
        return lambda: plain
    return lambda: plain.replace(b"\r\n\r\n", b"\r\nidempotency-key: bench-%d\r\n\r\n" % next(numbers), 1)


def _request(token: str, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {token}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://{LOOPBACK}:{port}/healthz", timeout=2) as answer:
            return bool(answer.status < 300)
    except OSError:
        return False
