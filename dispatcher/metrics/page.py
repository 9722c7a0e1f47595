"""The page that Prometheus reads: metrics as text."""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from secrets import compare_digest
from typing import TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from dispatcher.metrics.family import Family, Kind, Values

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
Measured: TypeAlias = Iterable[tuple[Family, Values]]


class _Measured(Collector):
    def __init__(self, measured: Measured) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        for family, values in self._measured:
            match family.kind:
                case Kind.COUNTER:
                    counter = CounterMetricFamily(family.name, family.says, labels=family.labels)
                    for labels, (value,) in values.items():
                        counter.add_metric(labels, value)
                    yield counter
                case Kind.GAUGE:
                    gauge = GaugeMetricFamily(family.name, family.says, labels=family.labels)
                    for labels, (value,) in values.items():
                        gauge.add_metric(labels, value)
                    yield gauge
                case Kind.HISTOGRAM:
                    histogram = HistogramMetricFamily(family.name, family.says, labels=family.labels)
                    for labels, (*counts, total) in values.items():
                        bounds = [*map(str, family.buckets), "+Inf"]
                        histogram.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
                    yield histogram


def page(measured: Measured) -> bytes:
    """The page. A family without values is left out of it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Measured([(family, values) for family, values in measured if values]))
    return generate_latest(registry)


def shows_token(authorization: str | None, token: str) -> bool:
    """Whether an `Authorization` header has this token as Bearer. Takes as long for any wrong one."""
    scheme, _, shown = (authorization or "").partition(" ")
    return scheme.lower() == "bearer" and compare_digest(shown.strip().encode(), token.encode())
