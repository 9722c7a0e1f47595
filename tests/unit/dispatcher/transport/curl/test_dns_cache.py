"""Names are looked up beside the transport: once at a time, kept a while, in turns that those that hang cannot fill."""

import socket
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from dispatcher.transport.curl.dns_cache import KEPT_SECONDS, Names, Resolved, Waiting
from dispatcher.transport.exchange import Failure, FailureKind, Request
from dispatcher.transport.resolver import DnsLookups


class Resolver:
    """Stands for `getaddrinfo`. A name that begins with `hanging` waits until `released`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()
        self.found: list[tuple[Any, ...]] = [("192.0.2.1", 80), ("2001:db8::1", 80, 0, 0), ("192.0.2.1", 80)]

    def __call__(self, host: str, port: int, **_: Any) -> Any:
        self.asked.append(host)
        if host.startswith("hanging"):
            self.released.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "no server")
        return [(socket.AF_UNSPEC, socket.SOCK_STREAM, 6, "", address) for address in self.found]


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.released.set()


class Waker:
    def __init__(self) -> None:
        self.told = threading.Semaphore(0)

    def __call__(self) -> None:
        self.told.release()

    def wait(self) -> None:
        assert self.told.acquire(timeout=10)


def request(connect_timeout: float = 5.0, timeout: float = 30.0, account: str = "acme") -> Request:
    return Request(uuid4(), "POST", "http://x.example/", (), b"", connect_timeout, timeout, account=account)


def made(resolver: Resolver, at_once: int = 4) -> tuple[Names, Waker]:
    waker = Waker()
    return Names(DnsLookups(resolver, at_once=at_once), lambda *_: None, waker), waker


def name(host: str) -> tuple[str, int]:
    return host, 80


def outcomes(ended: list[tuple[Waiting, str | Failure]]) -> list[str | FailureKind]:
    return [found.kind if isinstance(found, Failure) else found for _, found in ended]


FOUND = Resolved("+a.example:80:192.0.2.1,[2001:db8::1]", "192.0.2.1")


def test_an_address_written_out_needs_no_dns_lookup(resolver: Resolver) -> None:
    names, _ = made(resolver)
    assert [names.known(name(host), 0.0) for host in ("192.0.2.1", "2001:db8::1", "127.1")] == [
        Resolved("", "192.0.2.1"),
        Resolved("", "2001:db8::1"),
        Resolved("", "127.0.0.1"),
    ]
    assert names.known(name("192.0.2.1"), 0.0, anew=True) == Resolved("", "192.0.2.1")
    assert names.known(name("a.example"), 0.0) is None
    assert resolver.asked == []


def test_all_who_wait_for_a_name_get_its_one_answer_and_it_is_kept_for_a_while(resolver: Resolver) -> None:
    names, waker = made(resolver)
    requests = [request() for _ in range(3)]
    for waiting in requests:
        names.ask(waiting, name("a.example"), 100.0)
    waker.wait()
    ended = names.ended(101.0)
    assert [(waiting.request, waiting.begun_at, found) for waiting, found in ended] == [
        (waiting, 100.0, FOUND) for waiting in requests
    ]
    assert resolver.asked == ["a.example"]
    assert names.known(name("a.example"), 101.0 + KEPT_SECONDS - 0.1) == FOUND
    assert names.known(name("a.example"), 101.0, anew=True) is None
    assert names.known(name("a.example"), 101.0 + KEPT_SECONDS) is None


def test_a_failure_is_not_kept(resolver: Resolver) -> None:
    names, waker = made(resolver)
    resolver.released.set()
    for _ in range(2):
        names.ask(request(), name("hanging.example"), 0.0)
        waker.wait()
        assert outcomes(names.ended(1.0)) == [FailureKind.DNS]
        assert names.known(name("hanging.example"), 1.0) is None
    assert len(resolver.asked) == 2


def test_a_look_up_that_hangs_ends_with_the_time_to_connect_counted_from_its_beginning(resolver: Resolver) -> None:
    names, _ = made(resolver)
    names.ask(request(connect_timeout=5.0), name("hanging.example"), 100.0)
    names.ask(request(connect_timeout=9.0, timeout=2.0), name("hanging.example"), 101.0)
    assert names.deadline == 103.0
    assert names.ended(102.9) == []
    assert outcomes(names.ended(103.0)) == [FailureKind.DNS]
    assert outcomes(names.ended(105.0)) == [FailureKind.DNS]
    assert names.deadline > 10**9


def test_waiting_for_a_turn_does_not_count_but_ends(resolver: Resolver) -> None:
    names, waker = made(resolver, at_once=1)
    names.ask(request(connect_timeout=50.0), name("hanging.example"), 100.0)
    names.ask(request(connect_timeout=5.0), name("b.example"), 100.0)
    names.ask(request(connect_timeout=9.0), name("a.example"), 100.0)
    ((late, failure),) = names.ended(105.0)
    no_turn = "no turn: a worker process looks up 64 names at once, shared by all accounts"
    assert failure == Failure(FailureKind.NOT_SENT, no_turn)
    assert late.begun_at is None
    resolver.released.set()
    waker.wait()
    assert outcomes(names.ended(108.0)) == [FailureKind.DNS]
    assert names.deadline == pytest.approx(109.0)  # what stands for its turn, which has been given by now
    waker.wait()
    ((waiting, found),) = names.ended(109.5)
    assert (waiting.begun_at, found) == (108.0, FOUND)
    assert resolver.asked == ["hanging.example", "a.example"]


def test_names_that_hung_before_get_half_of_the_turns_at_most(resolver: Resolver) -> None:
    names, waker = made(resolver, at_once=5)
    hanging = [name(f"hanging-{number}.example") for number in range(4)]
    for each in hanging:
        names.ask(request(connect_timeout=1.0), each, 100.0)
    assert outcomes(names.ended(101.0)) == [FailureKind.DNS] * 4
    resolver.released.set()
    for _ in hanging:
        waker.wait()
    names.ended(102.0)
    resolver.released.clear()
    for each in hanging:
        names.ask(request(), each, 103.0)
    names.ask(request(), name("a.example"), 103.0)
    waker.wait()
    assert outcomes(names.ended(103.5)) == [FOUND]
    assert len(resolver.asked) == 4 + 2 + 1


def test_600_hanging_names_of_one_account_do_not_hold_up_another(resolver: Resolver) -> None:
    names, waker = made(resolver, at_once=64)
    for number in range(600):
        names.ask(request(), name(f"hanging-{number}.example"), 100.0)
    names.ask(request(account="other"), name("a.example"), 100.0)
    waker.wait()
    ((waiting, found),) = names.ended(100.0)
    assert (waiting.request.account, waiting.begun_at, found) == ("other", 100.0, FOUND)
    assert len(resolver.asked) == 56 + 1


def test_a_name_that_two_accounts_wait_for_takes_the_turn_of_the_first_that_comes_to_it(resolver: Resolver) -> None:
    names, waker = made(resolver, at_once=8)
    for number in range(20):
        names.ask(request(), name(f"hanging-{number}.example"), 100.0)
    names.ask(request(), name("a.example"), 100.0)
    assert names.ended(100.0) == []
    names.ask(request(account="other"), name("a.example"), 101.0)
    waker.wait()
    ended = names.ended(101.0)
    assert [(waiting.request.account, waiting.begun_at, found) for waiting, found in ended] == [
        ("acme", 101.0, FOUND),
        ("other", 101.0, FOUND),
    ]
    resolver.released.set()
    for _ in range(20):
        waker.wait()
        names.ended(102.0)
    assert sorted(resolver.asked) == sorted(["a.example", *(f"hanging-{number}.example" for number in range(20))])


def test_who_gives_up_takes_no_turn_from_others_of_its_account_who_wait_for_the_name(resolver: Resolver) -> None:
    names, waker = made(resolver, at_once=1)
    names.ask(request(connect_timeout=50.0), name("hanging.example"), 100.0)
    names.ask(request(connect_timeout=5.0), name("a.example"), 100.0)
    names.ask(request(connect_timeout=9.0), name("a.example"), 100.0)
    assert outcomes(names.ended(105.0)) == [FailureKind.NOT_SENT]
    resolver.released.set()
    waker.wait()
    names.ended(106.0)
    waker.wait()
    assert outcomes(names.ended(106.0)) == [FOUND]


def test_a_name_without_address_is_a_dns_failure(resolver: Resolver) -> None:
    resolver.found = []
    names, waker = made(resolver)
    names.ask(request(), name("a.example"), 0.0)
    waker.wait()
    assert outcomes(names.ended(0.1)) == [FailureKind.DNS]


def test_asking_never_waits(resolver: Resolver) -> None:
    names, _ = made(resolver, at_once=2)
    began = monotonic()
    for number in range(50):
        names.ask(request(), name(f"hanging-{number}.example"), 0.0)
    assert monotonic() - began < 5  # each hangs for 10
