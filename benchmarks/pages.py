"""`./run.sh bench pages`: how long each page of console and portal takes, with 1.5 million attempts in the tables.

The pages are read from the route tables, so a new one is measured by itself. Each is asked for over HTTP, as a browser
does, by one reader. What all who look share is kept for 5 s, and no page is asked for twice in that time: each time is
one of a page of which nothing is at hand. Meanwhile requests go on as often as they did.
"""

import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPResponse
from time import monotonic, perf_counter
from typing import NamedTuple
from urllib.parse import quote
from uuid import UUID

from sqlalchemy import text

from benchmarks.bench import QUICK, Bench
from benchmarks.cpu import tree_mb
from benchmarks.history import SPAN, make_webhooks, store_deliveries, store_requests
from benchmarks.measures.http import Served, serving
from benchmarks.servers import Servers, running_servers
from benchmarks.signed_in import CONSOLE, sign_in
from benchmarks.workload import BY, Fleet
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.console.app import routers_of
from dispatcher.console.kinds import Kind
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.embedded.servers.ports import LOOPBACK
from dispatcher.states import State
from dispatcher.webhooks.pulses.recent import FRESH
from workers.maintenance.pulses import count_pulses

MOST_MS, MOST_MB = 60.0, 10.0
_TABLES = ("events", "deliveries", "requests", "attempts", "webhooks", "pulses", "notices")
# What pages are asked for beside their usual selves: {names} are of the things that there are.
_QUERIES: Mapping[str, tuple[str, ...]] = {
    "/overview": ("span=1h", "span=7d", "span=30d"),
    "/webhooks": ("state=disabled",),
    "/webhooks/{webhook_id}": ("span=7d", "span=30d"),
    "/events": ("type=bench.w3", "subject={subject}", "state=unmatched"),
    "/deliveries": ("state=waiting", "reason=rejected", "webhook={webhook_id}&state=discarded"),
    "/live": ("failures=true", "webhook={webhook_id}"),
    "/search": ("q={subject}", "q={event_id}"),
}
_OF_CONSOLE: Mapping[str, tuple[str, ...]] = {
    "/webhooks": ("account={account}",),
    "/events": ("account={account}", "account={account}&type=bench.w3"),
    "/deliveries": ("account={account}", "account={account}&state=discarded"),
    "/live": ("account={account}",),
    "/accounts/{account_id}": ("span=30d",),
}
# Of the webhook that had most requests: an event whose delivery waits for its retry.
_NEWEST = f"""
SELECT d.id AS delivery_id, d.event_id, e.subject, a.id AS account_id, a.name AS account
FROM dispatcher.deliveries d JOIN dispatcher.events e ON e.id = d.event_id JOIN dispatcher.accounts a
  ON a.id = e.account_id
WHERE d.webhook_id = :webhook AND d.state = '{State.WAITING}' ORDER BY d.id DESC LIMIT 1
"""
_NOTICES = """
INSERT INTO dispatcher.notices (id, webhook_id, kind, fingerprint, observed_at, delivery_id)
SELECT gen_random_uuid(), w.id, 'retry', 'http_' || n, now(), gen_random_uuid()
FROM dispatcher.webhooks w, generate_series(500, 503) n
"""
_OPEN_CIRCUITS = """
INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trials, trial_at)
SELECT id, 30, now() - interval '1 hour', now() - interval '50 minutes', 3, now() + interval '5 minutes'
FROM unnest(CAST(:ids AS uuid[])) id
"""


class Page(NamedTuple):
    """A page of one face, as it is asked for."""

    kind: Kind
    path: str  # as in the route table
    query: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.path}{'?' if self.query else ''}{self.query}"

    def url(self, things: Mapping[str, str]) -> str:
        """With the ids of things in it."""
        return re.sub(
            r"\{(\w+)\}", lambda name: quote(things[name[1]]), f"/{self.kind}{self.path}?{self.query}"
        ).rstrip("?")


def of_every_page(requests: int, rounds: int, say: Callable[[str], None]) -> bool:
    """Measures each page so often, and the memory of the API. Says what was found; returns whether all is as it must
    be."""
    with running_servers(wal_files=8) as servers, Bench(servers, QUICK, quick=True) as bench:
        week = _Week(servers, requests)
        things = _things(servers, week.webhooks)
        with serving(bench, Fleet(things["account"], week.webhooks), env=CONSOLE) as served:
            _use_api(served, servers, things)
            before = tree_mb(served.pids[0])
            times, sizes = _measured(served, servers, things, week, rounds)
            grown = tree_mb(served.pids[0]) - before
    slow = 0
    for page, took in sorted(times.items(), key=lambda one: -statistics.median(one[1])):
        median = statistics.median(took)
        slow += median > MOST_MS
        note = f"   more than {MOST_MS:.0f}" if median > MOST_MS else ""
        say(f"{page!s:72} {median:7.1f} ms, worst {max(took):7.1f} ms, {sizes[page]:6,} bytes{note}")
    say(f"{len(times)} pages, {slow} of them slower than {MOST_MS:.0f} ms")
    say(f"the API has {grown:.1f} MB more than before{f': more than {MOST_MB:.0f}' if grown > MOST_MB else ''}")
    return not slow and grown <= MOST_MB


def pages() -> Iterator[Page]:
    """All that there are."""
    for kind in Kind:
        for router in routers_of(kind):
            for route in router.routes:
                if "GET" in (getattr(route, "methods", None) or ()):
                    path = str(getattr(route, "path", ""))
                    more = (*_QUERIES.get(path, ()), *(_OF_CONSOLE.get(path, ()) if kind is Kind.CONSOLE else ()))
                    yield from (Page(kind, path, query) for query in ("", *more))


class _Week:
    """The week that has been, and what has come since."""

    def __init__(self, servers: Servers, requests: int) -> None:
        self._servers, self._of_second = servers, requests / SPAN.total_seconds()
        self.webhooks = tuple(make_webhooks(servers))
        self._until = datetime.now(UTC)
        self._store(requests, self._until - SPAN, self._until)
        self._count()
        self._count()  # and makes the hours and days of what it has counted
        for table in _TABLES:
            servers.execute(f"VACUUM ANALYZE dispatcher.{table}")

    def go_on(self) -> None:
        """As many requests as would have been made since the last call, and what upkeep does with them."""
        since, self._until = self._until, datetime.now(UTC)
        missed = (self._until - since).total_seconds() * self._of_second
        self._store(max(round(missed), 1), since, self._until)
        self._count()

    def _store(self, requests: int, begin: datetime, end: datetime) -> None:
        store_requests(self._servers, self.webhooks, requests, begin, end)
        store_deliveries(self._servers, begin, end)

    def _count(self) -> None:
        count_pulses(self._servers.installation.engine, datetime.now(UTC), monotonic() + 600)


def _things(servers: Servers, webhooks: tuple[UUID, ...]) -> dict[str, str]:
    """What the pages are about, by the names of the parameters in their paths."""
    servers.execute(_NOTICES)
    servers.execute(_OPEN_CIRCUITS, ids=list(webhooks[-20:]))
    with servers.installation.transaction() as session:
        newest = session.execute(text(_NEWEST), {"webhook": webhooks[0]}).one()
        redelivery = order(session, find_account(session, newest.account), Selection(), by=BY).id
        key = create_key(session, by=BY, account=newest.account, scopes=[Scope.READ]).id
    found = {**newest._mapping, "webhook_id": webhooks[0], "redelivery_id": redelivery, "key_id": key}
    return {name: str(value) for name, value in found.items()}


def _use_api(served: Served, servers: Servers, things: Mapping[str, str]) -> None:
    """What the API itself loads and connects is no part of what console and portal take."""
    with servers.installation.transaction() as session:
        token = create_key(session, by=BY, account=things["account"], scopes=[Scope.READ]).token
    for path in ("/v1/webhooks", "/v1/events", "/v1/deliveries", "/v1/series", f"/v1/events/{things['event_id']}"):
        for _ in range(5):
            _ask(served.ports[0], path, {"Authorization": f"Bearer {token}"})


def _measured(
    served: Served, servers: Servers, things: dict[str, str], week: _Week, rounds: int
) -> tuple[Mapping[Page, list[float]], Mapping[Page, int]]:
    """The milliseconds of each page, and its bytes as they are sent."""
    signed = {kind: sign_in(servers.installation, kind, things["account"]) for kind in Kind}
    things["session_id"] = str(signed[Kind.PORTAL].id)
    times, sizes = {page: list[float]() for page in pages()}, Counter[Page]()
    for number in range(rounds + 1):
        week.go_on()
        began = monotonic()
        for page, took in times.items():
            asked = perf_counter()
            sizes[page] = _ask(served.ports[0], page.url(things), {"Cookie": signed[page.kind].cookie})
            if number:  # what the first round must load and connect is not measured
                took.append((perf_counter() - asked) * 1000)
        time.sleep(max(0.0, FRESH + 0.2 - (monotonic() - began)))
    return times, sizes


def _ask(port: int, path: str, headers: Mapping[str, str]) -> int:
    """The bytes of the answer. Raises RuntimeError if it is none with a page."""
    connection = HTTPConnection(LOOPBACK, port, timeout=60)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip", **headers})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if not (answer.status == 200 or _leads_on(answer) or path == "/portal/login"):  # 401: links lead in there
        raise RuntimeError(f"{path} was answered with {answer.status}")
    return len(content)


def _leads_on(answer: HTTPResponse) -> bool:
    """Whether it leads to another page, but not to the one where people sign in."""
    return answer.status == 303 and "/login" not in answer.headers["Location"]
