"""The egress policy as transports ask it: what changes on the machine is seen, although judgements are kept."""

import pytest

from dispatcher.egress.address_policy import OWN, AddressPolicy
from dispatcher.transport.exchange import Failure, FailureKind, Request
from dispatcher.transport.guard import Guard

REQUEST = Request("id", "POST", "https://8.8.4.4/", (), b"[]", 1.0, 1.0)


def test_an_address_that_comes_to_this_machine_or_leaves_it_is_judged_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now, own, asked = [1_000.0], {"8.8.4.4"}, 0

    def is_own(address: str) -> bool:
        nonlocal asked
        asked += 1
        return address in own

    monkeypatch.setattr("dispatcher.transport.guard.monotonic", lambda: now[0])
    guard = Guard(AddressPolicy(is_own=is_own))
    refused = Failure(FailureKind.ADDRESS_REFUSED, OWN)
    assert guard.refuse_request(REQUEST) == guard.refuse_request(REQUEST) == refused
    assert asked == 1
    own.clear()
    assert guard.refuse_address("hook.example", "8.8.4.4", 443) is None  # each connection asks
    now[0] += 60
    assert guard.refuse_request(REQUEST) is None
    own.add("8.8.4.4")
    assert guard.refuse_address("hook.example", "8.8.4.4", 443) == refused
