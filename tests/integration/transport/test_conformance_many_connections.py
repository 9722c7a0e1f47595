"""Every transport holds more than 1,100 connections open at once: descriptors above 1,023, where select(2) is blind."""

from collections import Counter
from time import monotonic

from dispatcher.transport.exchange import Exchange, Failure, FailureKind, Reply
from dispatcher.transport.port import Transport
from tests.behaviours import Answer
from tests.certificates import Authority
from tests.dead_ports import refusing_port
from tests.integration.transport.conftest import NewTransport, request_to
from tests.receiver import Receiver

HELD = 1_150


def collect(transport: Transport, count: int) -> list[Exchange]:
    ended: list[Exchange] = []
    while len(ended) < count:
        some = transport.wait(15)
        assert some, f"{len(ended)} of {count} came back"
        ended += some
    return ended


def result(outcome: Reply | Failure) -> int | FailureKind:
    return outcome.status if isinstance(outcome, Reply) else outcome.kind


def test_above_1100_open_sockets_everything_still_works(
    new_transport: NewTransport, receiver: Receiver, authority: Authority
) -> None:
    # A transport of sender threads has 1,200 of them here.
    transport = new_transport(capacity=1_200, ca_bundle=authority.bundle)
    gate = receiver.gate()
    receiver.script("/held", (gate, *Answer(204).steps()))
    held = [request_to(receiver.url("/held"), connect_timeout=20.0, timeout=50.0) for _ in range(HELD)]
    for request in held:
        transport.send(request)
    until = monotonic() + 30
    while len(receiver.received) < HELD and monotonic() < until:
        assert transport.wait(0.05) == []
    assert receiver.connections == HELD

    with Receiver(tls=authority.server("127.0.0.1")) as encrypted:
        encrypted.script("/late", Answer(200, body=b"late" * 5_000, delay=0.1))
        urls = [encrypted.url("/late"), receiver.url("/free"), f"http://localhost:{receiver.port}/named"]
        urls += [f"http://127.0.0.1:{refusing_port()}/", receiver.url("/status/500")]
        for url in urls:
            transport.send(request_to(url, timeout=10.0, connect_timeout=10.0))
        ended = collect(transport, len(urls))
    outcomes = {exchange.request.url: exchange.outcome for exchange in ended}
    assert [result(outcomes[url]) for url in urls] == [200, 200, 200, FailureKind.CONNECTION_REFUSED, 500]

    gate.open()
    ended = collect(transport, HELD)
    assert Counter(exchange.request.id for exchange in ended) == Counter(request.id for request in held)
    assert {result(exchange.outcome) for exchange in ended} == {204}
