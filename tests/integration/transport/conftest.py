"""The transports under test: the conformance suite runs every case against each of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.exchange import Exchange, Failure, FailureKind, Reply, Request
from dispatcher.transport.port import Transport
from dispatcher.transport.threaded.transport import RequestsTransport
from tests.allowed import LOOPBACK
from tests.certificates import Authority, new_authority
from tests.receiver import Receiver

TRANSPORTS = [pytest.param(RequestsTransport, id="requests"), pytest.param(CurlTransport, id="curl")]

NewTransport = Callable[..., Transport]


@pytest.fixture(params=TRANSPORTS)
def new_transport(request: pytest.FixtureRequest, strangers: Path) -> Iterator[NewTransport]:
    """Makes transports (`capacity`, `ca_bundle`) that are closed after the test."""
    made: list[Transport] = []

    def new(**options: Any) -> Transport:
        made.append(request.param(**{"capacity": 8, "addresses": LOOPBACK, "ca_bundle": strangers, **options}))
        return made[-1]

    yield new
    for transport in made:
        transport.close()


def request_to(url: str, method: str = "POST", **changes: Any) -> Request:
    """A request as the loop makes them, with short deadlines."""
    values = {"headers": (("Content-Type", "application/json"),), "body": b"[]", "connect_timeout": 2.0, "timeout": 5.0}
    return Request(str(uuid4()), method, url, **{**values, **changes})


class Sender:
    """Sends one request and waits for what comes of it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def exchange(self, url: str, method: str = "POST", **changes: Any) -> Exchange:
        request = request_to(url, method, **changes)
        self.transport.send(request)
        (exchange,) = self.transport.wait(15)
        assert exchange.request is request
        return exchange

    def reply(self, url: str, method: str = "POST", **changes: Any) -> Reply:
        outcome = self.exchange(url, method, **changes).outcome
        assert isinstance(outcome, Reply), outcome
        return outcome

    def failure(self, url: str, method: str = "POST", **changes: Any) -> FailureKind:
        outcome = self.exchange(url, method, **changes).outcome
        assert isinstance(outcome, Failure), outcome
        return outcome.kind


@pytest.fixture
def sender(new_transport: NewTransport) -> Sender:
    return Sender(new_transport())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder: Path = tmp_path_factory.mktemp("authority")
    return new_authority(folder)


@pytest.fixture
def trusting(new_transport: NewTransport, authority: Authority) -> Sender:
    """Sends through a transport that trusts the authority of the tests."""
    return Sender(new_transport(ca_bundle=authority.bundle))
