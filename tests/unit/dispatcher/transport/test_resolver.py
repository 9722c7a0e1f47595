"""DNS lookups hold a deadline although the resolver does not, and one name is looked up once at a time."""

import socket
import threading
from time import monotonic
from typing import Any

import pytest

from dispatcher.transport.deadlines import Deadlines
from dispatcher.transport.resolver import DnsLookups, NoTurn

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


def within(seconds: float) -> Deadlines:
    return Deadlines(seconds, 60)


class Resolver:
    """Stands for `getaddrinfo`: answers once it is allowed to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.allowed = threading.Event()
        self._calls = threading.Semaphore(0)
        self._seen = 0

    def wait_for(self, count: int) -> None:
        while self._seen < count:
            assert self._calls.acquire(timeout=10), f"asked for {self.asked}"
            self._seen += 1

    def __call__(self, host: str, port: int, type: int) -> Any:  # noqa: A002 - the parameter of `getaddrinfo`
        self.asked.append(host)
        self._calls.release()
        if not self.allowed.wait(10):
            raise AssertionError("nobody let the resolver answer")
        return FOUND


def test_an_address_written_out_needs_no_dns_lookup() -> None:
    resolver = Resolver()
    ups = DnsLookups(resolver)
    assert ups.addresses("192.0.2.7", 80, "acme", within(1)) == [(socket.AF_INET, ("192.0.2.7", 80))]
    assert ups.addresses("::1", 80, "acme", within(1)) == [(socket.AF_INET6, ("::1", 80, 0, 0))]
    assert resolver.asked == []


def test_a_resolver_that_hangs_does_not_stretch_the_deadline() -> None:
    resolver = Resolver()
    began = monotonic()
    with pytest.raises(TimeoutError):
        DnsLookups(resolver).addresses("slow.example", 80, "acme", within(0.1))
    assert monotonic() - began < 5
    resolver.allowed.set()


def test_a_name_is_looked_up_once_however_many_wait_for_it() -> None:
    resolver = Resolver()
    ups = DnsLookups(resolver)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(ups.addresses("same.example", 80, "acme", within(10))))
        for _ in range(20)
    ]
    with pytest.raises(TimeoutError):  # the first, which the twenty join
        ups.addresses("same.example", 80, "acme", within(0.05))
    for thread in threads:
        thread.start()
    resolver.allowed.set()
    for thread in threads:
        thread.join(10)
    assert found == [[(socket.AF_INET, ("192.0.2.1", 80))]] * 20
    assert len(resolver.asked) <= 2  # a thread that came late asked anew


def test_no_more_names_are_looked_up_at_once_than_allowed() -> None:
    resolver = Resolver()
    ups = DnsLookups(resolver, at_once=3)
    for name, refusal in {"one.example": TimeoutError, "two.example": TimeoutError, "three.example": NoTurn}.items():
        with pytest.raises(refusal):
            ups.addresses(name, 80, "acme", within(0.05))
    assert resolver.asked == ["one.example", "two.example"]
    resolver.allowed.set()
    assert ups.addresses("three.example", 80, "acme", within(10)) == [(socket.AF_INET, ("192.0.2.1", 80))]


def test_threads_that_wait_for_hanging_names_of_one_account_do_not_hold_up_another() -> None:
    resolver = Resolver()
    ups = DnsLookups(resolver, at_once=8)
    outcomes: list[Any] = []

    def look_up(account: str, host: str) -> None:
        outcomes.append((account, ups.addresses(host, 80, account, within(10))))

    threads = [threading.Thread(target=look_up, args=("acme", f"{number}.example")) for number in range(20)]
    for thread in threads:
        thread.start()
    resolver.wait_for(7)
    threads.append(threading.Thread(target=look_up, args=("other", "other.example")))
    threads[-1].start()
    resolver.wait_for(8)
    assert (len(resolver.asked), resolver.asked[-1]) == (8, "other.example")
    resolver.allowed.set()
    for thread in threads:
        thread.join(10)
    assert sorted(account for account, _ in outcomes) == ["acme"] * 20 + ["other"]


def test_what_the_resolver_raises_is_raised_and_not_kept() -> None:
    answers: list[Any] = [socket.gaierror(socket.EAI_AGAIN, "try again"), FOUND]

    def resolve(*_: Any, **__: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    ups = DnsLookups(resolve)
    with pytest.raises(socket.gaierror):
        ups.addresses("flaky.example", 80, "acme", within(10))
    assert ups.addresses("flaky.example", 80, "acme", within(10))
