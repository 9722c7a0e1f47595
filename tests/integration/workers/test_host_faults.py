"""A fault of the host that delivers is not counted as the receivers': real servers, and faults that are as real."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.receiver_auth.credentials import ClientCredentials
from dispatcher.settings import Settings, read_settings
from dispatcher.transport.curl import transfers
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.threaded import opening
from dispatcher.transport.threaded.transport import RequestsTransport
from tests.allowed import LOOPBACK
from tests.behaviours import Answer
from tests.certificates import Authority, new_authority
from tests.dns_server import DnsServer
from tests.factories import MESSAGE, RECEIVED, attempts, deliver_all, deliveries, make_webhook, rows
from tests.integration.workers.parked import ParkedLoop, parked_loops, until
from tests.receiver import Receiver
from workers import concluding
from workers.claims.claims import Claimer
from workers.results import host_faults
from workers.results.host_faults import NEEDED, TRIALS, Step

COUNT = NEEDED + 2
RUN_OVER = """
import logging, sys
from dispatcher.installation import Installation
from dispatcher.settings import read_settings
from workers import concluding, loop
from workers.process import Worker
from workers.results import host_faults
host_faults.SETTLE = 0.1
seen = []
concluding.log = type("Log", (), {"error": lambda self, *a, **k: seen.append(k), "warning": print})()
loop.loops_stay, loop.is_stopping = (lambda: True), (lambda: bool(seen))
worker = Worker(Installation(read_settings()))
loop.DeliveryLoop(worker).run()
print(seen[0]["step"], seen[0]["why"])
"""


@pytest.fixture(params=["curl", "requests"])
def settings(
    environment: dict[str, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> Settings:
    """Of an installation that trusts the authority, with quick decisions."""
    monkeypatch.setenv("DISPATCHER_TRANSPORT", request.param)
    monkeypatch.setenv("DISPATCHER_CA_BUNDLE", str(authority.bundle))
    monkeypatch.setattr(host_faults, "SETTLE", 0.1)
    monkeypatch.setattr(host_faults, "TRY_EVERY", 0.5)
    return read_settings()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("other"))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the log says of faults."""
    lines: list[tuple[str, dict[str, Any]]] = []

    class Log:
        def error(self, text: str, **values: Any) -> None:
            lines.append((text, values))

        warning = error

    monkeypatch.setattr(concluding, "log", Log())
    return lines


@contextmanager
def receivers(count: int, tls: Callable[[str], ssl.SSLContext] | None = None) -> Iterator[list[Receiver]]:
    """So many receivers, each at an address of its own."""
    with ExitStack() as stack:
        hosts = [f"127.0.0.{place}" for place in range(2, count + 2)]
        yield [stack.enter_context(Receiver(host=host, tls=tls(host) if tls else None)) for host in hosts]


def make_webhooks(database: Engine, settings: Settings, *urls: str, account: str | None = None, **more: Any) -> None:
    """A webhook for each URL, each of an account of its own unless one is given."""
    for place, url in enumerate(urls):
        owner = account or f"account-{place}"
        make_webhook(database, settings, account=owner, url=url, contact_email=f"{owner}@example.com", **more)


def send(*accounts: int) -> None:
    """An event for each of these accounts."""
    for account in accounts:
        enqueue(RECEIVED, MESSAGE, account=f"account-{account}")


def nothing_counts(database: Engine, count: int = COUNT) -> bool:
    """All deliveries are as they came, and nobody hears of it."""
    found = deliveries(database)
    assert len(found) == count
    assert not rows(database, "SELECT * FROM dispatcher.notices")
    assert not rows(database, "SELECT * FROM dispatcher.circuit_breakers")
    assert not attempts(database)
    return all((row.state, row.attempt_count, row.schedule_step) == ("ready", 0, 0) for row in found)


def is_open(loop: ParkedLoop, step: Step) -> bool:
    return step in loop.worker.host_faults.open


def states(database: Engine) -> list[str]:
    return sorted(row.state for row in deliveries(database))


def test_a_wrong_bundle_of_authorities_counts_against_no_receiver_and_all_is_sent_with_the_right_one(
    database: Engine,
    settings: Settings,
    other_authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    told: list[tuple[str, dict[str, Any]]],
) -> None:
    with receivers(COUNT, other_authority.server) as running:
        make_webhooks(database, settings, *[one.url("/hook") for one in running])
        with parked_loops(monkeypatch, settings) as (loop,):
            send(*range(COUNT))
            until(lambda: is_open(loop, Step.TLS))
            before = loop.claims
            until(lambda: loop.claims >= before + 3)  # trials
            until(lambda: nothing_counts(database))
        ((text, values),) = told
        assert text == "this host has a fault: unrelated receivers cannot be reached"
        assert (values["step"], values["accounts"]) == ("tls", COUNT)
        assert values["why"].startswith("certificate refused: ")
        assert "DISPATCHER_CA_BUNDLE" in values["check"]
        assert not any(one.received for one in running)
        monkeypatch.undo()
        monkeypatch.setenv("DISPATCHER_CA_BUNDLE", str(other_authority.bundle))
        assert deliver_all(settings.model_copy(update={"ca_bundle": other_authority.bundle}))["delivered"] == COUNT
    assert [(row.number, row.verdict) for row in attempts(database)] == [(1, "acknowledged")] * COUNT


def test_a_dead_resolver_counts_against_no_receiver_and_trials_end_it(
    database: Engine,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    told: list[tuple[str, dict[str, Any]]],
) -> None:
    server = DnsServer()
    server._resolver.lifetime = 0.3
    kind = CurlTransport if settings.transport == "curl" else RequestsTransport
    made = lambda settings: kind(addresses=LOOPBACK, resolve=server.resolve, capacity=64)  # noqa: E731
    monkeypatch.setattr("workers.process.new_transport", made)
    claims: list[int] = []
    claim = Claimer.claim
    monkeypatch.setattr(
        Claimer,
        "claim",
        lambda self, connection, rooms, limit, **more: (
            claims.append(limit) or claim(self, connection, rooms, limit, **more)
        ),
    )
    with receivers(COUNT) as running, ExitStack() as later:
        for one in running:
            server.script(f"hook.at-{one.port}.test", (one._host,))
        make_webhooks(database, settings, *[f"http://hook.at-{one.port}.test:{one.port}/hook" for one in running])
        with parked_loops(monkeypatch, settings) as (loop,):
            send(*range(COUNT))
            until(lambda: is_open(loop, Step.DNS))
            until(lambda: nothing_counts(database))
            tried = len(claims)
            until(lambda: len(claims) >= tried + 2)
            assert claims[tried:][0] == TRIALS
            loop.loop._heartbeat.due_at = 0
            until(lambda: rows(database, "SELECT 1 FROM dispatcher.processes WHERE fault = 'dns'"))
            later.enter_context(server)
            until(lambda: states(database) == ["delivered"] * COUNT)
            until(lambda: loop.worker.host_faults.calm)
            loop.loop._heartbeat.due_at = 0
            until(lambda: not rows(database, "SELECT 1 FROM dispatcher.processes WHERE fault_since IS NOT NULL"))
    assert [(row.number, row.schedule_step) for row in attempts_with_steps(database)] == [(1, 0)] * COUNT
    assert [text for text, _ in told] == [
        "this host has a fault: unrelated receivers cannot be reached",
        "this host's fault is over",
    ]


def attempts_with_steps(database: Engine) -> list[Any]:
    return rows(
        database,
        "SELECT number, schedule_step FROM dispatcher.attempts JOIN dispatcher.deliveries d ON d.id = delivery_id",
    )


class Unrouted(socket.socket):
    """The kernel sends to its own networks only, as if the default route was missing."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)


@pytest.fixture
def no_route(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    class UnroutedOpened(transfers._OpenedSocket, Unrouted):
        pass

    monkeypatch.setattr(transfers, "_OpenedSocket", UnroutedOpened)
    sockets = type("Sockets", (), {**vars(socket), "socket": Unrouted})
    monkeypatch.setattr(opening, "socket", sockets)
    monkeypatch.setenv("DISPATCHER_ALLOWED_NETWORKS", "127.0.0.0/8,198.51.100.0/24")


AWAY = [f"http://198.51.100.{host}/hook" for host in range(1, NEEDED + 1)]


@pytest.mark.usefixtures("no_route")
def test_no_route_counts_against_no_receiver_until_one_is_reached(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_settings()
    make_webhooks(database, settings, *AWAY, receiver.url("/hook"))
    with parked_loops(monkeypatch, settings) as (loop,):
        send(*range(NEEDED))
        until(lambda: is_open(loop, Step.ROUTE))
        until(lambda: nothing_counts(database, NEEDED))
        send(NEEDED)
        until(lambda: states(database) == ["delivered", *["waiting"] * NEEDED])  # so it was their own fault
        assert loop.worker.host_faults.calm
    assert {row.failure for row in attempts(database)} == {None, "unreachable"}


@pytest.mark.skipif(not shutil.which("faketime"), reason="faketime is not on PATH")
def test_a_clock_a_year_off_counts_against_no_receiver(
    database: Engine, settings: Settings, authority: Authority
) -> None:
    asked = ["faketime", "-f", "+1y", "printenv", "LD_PRELOAD"]
    library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    clock = {"LD_PRELOAD": library, "FAKETIME": "+1y", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with receivers(COUNT, authority.server) as running:
        make_webhooks(database, settings, *[one.url("/hook") for one in running])
        send(*range(COUNT))
        command = [sys.executable, "-P", "-c", RUN_OVER]
        environment = os.environ | clock | {"PYTHONPATH": str(Path(concluding.__file__).parents[1])}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert ran.stdout.splitlines()[-1:] == ["tls certificate refused: has expired"], ran.stderr
        assert nothing_counts(database)
        assert deliver_all(settings)["delivered"] == COUNT


def test_certificates_that_a_wrong_clock_takes_for_expired_count_against_no_receiver(
    database: Engine, settings: Settings, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receivers(COUNT, lambda host: authority.server(host, expired=True)) as running:
        make_webhooks(database, settings, *[one.url("/hook") for one in running])
        with parked_loops(monkeypatch, settings) as (loop,):
            send(*range(COUNT))
            until(lambda: is_open(loop, Step.TLS))
            until(lambda: nothing_counts(database))


def test_a_token_server_that_is_not_trusted_counts_neither(
    database: Engine, settings: Settings, other_authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receivers(COUNT, other_authority.server) as servers, receivers(1) as (receiver,):
        for place, server in enumerate(servers):
            credentials = ClientCredentials(server.url("/token"), "id", "secret")
            account, url = f"account-{place}", receiver.url("/hook")
            make_webhooks(database, settings, url, account=account, authorization=credentials)
        with parked_loops(monkeypatch, settings) as (loop,):
            send(*range(COUNT))
            until(lambda: is_open(loop, Step.TLS))
            until(lambda: nothing_counts(database))


def dead(count: int) -> list[str]:
    """Where nothing listens, at so many addresses."""
    return [f"http://127.0.1.{host}:9/hook" for host in range(1, count + 1)]


def test_the_receivers_of_one_large_account_do_count(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concluding, "HOLD", 0.3)
    make_webhook(database, settings, account="another", url=receiver.url("/hook"))
    make_webhooks(database, settings, *dead(20), account="large")
    with parked_loops(monkeypatch, settings) as (loop,):
        enqueue(RECEIVED, MESSAGE, account="large")
        until(lambda: states(database) == ["waiting"] * 20)
        assert not loop.worker.host_faults.open
        enqueue(RECEIVED, MESSAGE, account="another")
        until(lambda: states(database) == ["delivered", *["waiting"] * 20])
    assert len(rows(database, "SELECT * FROM dispatcher.circuit_breakers")) == 20
    assert len(rows(database, "SELECT * FROM dispatcher.notices WHERE due_at IS NOT NULL")) == 20


def test_many_accounts_at_one_dead_host_do_count(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concluding, "HOLD", 0.3)
    make_webhooks(database, settings, *[f"http://127.0.1.1:9/{place}" for place in range(2 * COUNT)])
    with parked_loops(monkeypatch, settings) as (loop,):
        send(*range(2 * COUNT))
        until(lambda: states(database) == ["waiting"] * 2 * COUNT)
        assert not loop.worker.host_faults.open


def test_unrelated_receivers_that_are_dead_while_others_answer_do_count_at_once(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_faults, "SETTLE", 5.0)
    gate = receiver.gate()
    receiver.script("/hook", (gate, *Answer(200).steps()))
    make_webhooks(database, settings, *dead(COUNT), receiver.url("/hook"))
    with parked_loops(monkeypatch, settings) as (loop,):
        send(COUNT)
        receiver.wait_for(1)
        send(*range(COUNT))
        until(lambda: loop.worker.host_faults.is_suspected)
        assert "waiting" not in states(database)
        gate.open()
        until(lambda: states(database) == ["delivered", *["waiting"] * COUNT])
        assert not loop.worker.host_faults.open


def test_who_answers_over_kept_connections_shows_that_the_host_is_well_too(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_faults, "TRIALS", 2)
    gate = receiver.gate()
    receiver.script("/hook", (gate, *Answer(200).steps()))
    make_webhooks(database, settings, *dead(NEEDED), receiver.url("/hook"))
    with parked_loops(monkeypatch, settings) as (loop,):
        send(*[NEEDED] * 4)
        receiver.wait_for(4)
        gate.open()  # from now on there is a kept connection for each request of a group of trials
        until(lambda: states(database) == ["delivered"] * 4)

        def is_judged() -> bool:
            send(NEEDED)
            return states(database).count("waiting") == NEEDED and loop.worker.host_faults.calm

        send(*range(NEEDED))
        until(is_judged)
        until(lambda: set(states(database)) == {"delivered", "waiting"})


def test_before_there_is_enough_evidence_fewer_receivers_are_counted_than_it_takes(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concluding, "HOLD", 0.1)
    make_webhooks(database, settings, *dead(COUNT + NEEDED))
    with parked_loops(monkeypatch, settings) as (loop,):
        send(*range(NEEDED - 1))
        until(lambda: states(database) == ["waiting"] * (NEEDED - 1))
        send(*range(NEEDED, NEEDED + COUNT))
        until(lambda: is_open(loop, Step.ROUTE))
        until(lambda: states(database) == ["ready"] * COUNT + ["waiting"] * (NEEDED - 1))
    assert len(attempts(database)) == NEEDED - 1
    assert len(rows(database, "SELECT * FROM dispatcher.notices")) == NEEDED - 1


def test_a_loop_that_does_not_stay_makes_one_group_of_trials_and_ends(
    database: Engine, settings: Settings, other_authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receivers(COUNT, other_authority.server) as running:
        make_webhooks(database, settings, *[one.url("/hook") for one in running])
        send(*range(COUNT))
        assert deliver_all(settings) == {"claimed": COUNT, "delivered": 0, "retried": 0, "discarded": 0}
        assert nothing_counts(database)


def test_a_stop_during_a_fault_leaves_nothing_claimed(
    database: Engine, settings: Settings, other_authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receivers(COUNT, other_authority.server) as running:
        make_webhooks(database, settings, *[one.url("/hook") for one in running])
        with parked_loops(monkeypatch, settings) as (loop,):
            send(*range(COUNT))
            until(lambda: is_open(loop, Step.TLS))
        assert nothing_counts(database)
