"""500 receivers, each at a host and port of its own: plain, behind TLS, and behind TLS with HTTP/2.

Before the measured deliveries each webhook gets some, so that connections are open. The engine keeps some of them, and
must open the others again: `connections` says how many were opened per thousand deliveries, `resumed` which share of
them resumed a TLS session.
"""

from benchmarks.bench import Bench
from benchmarks.measures.throughput import engine
from benchmarks.targets import Sample

RECEIVERS = 500
_WARM = 4  # deliveries of each webhook before the measured ones


def plain(bench: Bench) -> Sample:
    """Without TLS."""
    return _delivered(bench, "plain")


def http1(bench: Bench) -> Sample:
    """TLS 1.3 and HTTP/1.1."""
    return _delivered(bench, "http/1.1")


def http2(bench: Bench) -> Sample:
    """TLS 1.3 and HTTP/2."""
    return _delivered(bench, "h2")


def _delivered(bench: Bench, protocol: str) -> Sample:
    receivers = bench.many_receivers(protocol, RECEIVERS)
    fleet = bench.fleet(receivers.urls())
    env = {"DISPATCHER_CA_BUNDLE": str(bench.certificate)}  # also without TLS: all three share the worker
    engine(bench, fleet, _WARM * RECEIVERS, env=env, receiver=receivers)
    before = receivers.opened()
    sample = engine(bench, fleet, bench.size.tls, env=env, receiver=receivers)
    opened, resumed = (now - then for now, then in zip(receivers.opened(), before, strict=True))
    return {**sample, "connections": opened / bench.size.tls * 1000, "resumed": resumed / max(opened, 1)}
