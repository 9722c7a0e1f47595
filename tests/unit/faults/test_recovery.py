"""When everything is said to flow again after a fault that ended at 100."""

from dataclasses import replace
from math import inf

import pytest

from tests.faults.ledgers import Received, Role, Sent, Way
from tests.faults.recovery import Arrivals, of_calls, of_events, of_mails

CALL = Sent("s1", Role.STEADY, 101.0, 101.1, "e1", 2, Way.API)
FAILED = replace(CALL, event=None, deliveries=None)


def calls(*sent: Sent, now: float = 110.0) -> float:
    return of_calls(Way.API, sent, ended=100.0, now=now)


def test_calls_that_never_failed_flow_at_once_and_without_any_it_is_not_known() -> None:
    assert calls(CALL) == 0
    assert calls() == calls(replace(CALL, way=Way.ENQUEUE)) == inf


def test_calls_flow_again_from_the_first_success_after_the_last_that_failed_or_was_slow() -> None:
    again = replace(CALL, asked=105.0, accepted=105.5)
    assert calls(CALL, replace(FAILED, asked=103.0, accepted=104.0), again) == pytest.approx(5.5)
    assert calls(replace(CALL, asked=99.0, accepted=103.0), again) == pytest.approx(3.0)
    assert calls(CALL, replace(FAILED, asked=103.0, accepted=104.0)) == inf


def test_a_call_that_hangs_has_not_recovered() -> None:
    hanging = replace(FAILED, asked=90.0, accepted=90.0)
    assert calls(CALL, hanging) == inf
    assert calls(CALL, replace(hanging, asked=109.5, accepted=109.5)) == 0


def events(*waits: tuple[float, float | None], now: float = 110.0) -> float:
    sent = [replace(CALL, number=f"s{n}", accepted=at, deliveries=1) for n, (at, _) in enumerate(waits)]
    arrivals = Arrivals()
    arrivals.add([Received(at, "/ok", "d", (f"s{n}",)) for n, (_, at) in enumerate(waits) if at is not None])
    return of_events(Role.STEADY, sent, arrivals, ended=100.0, now=now)


def test_deliveries_flow_again_when_the_last_late_one_has_arrived() -> None:
    assert events((101, 101.1)) == 0
    assert events((90, 104), (101, 101.1)) == 4
    assert events((90, 95), (101, 101.1)) == 0, "late, but before the fault had ended"
    assert events((101, 101.1), (90, None)) == inf
    assert events((90, 91)) == inf, "nothing was sent since"


def test_an_event_has_arrived_when_all_its_receivers_acknowledged_it() -> None:
    arrivals = Arrivals()
    ledger = [Received(1, "/a", "d1", ("s1",)), Received(2, "/b", "d2", ("s1",), answered=False)]
    arrivals.add(ledger)
    assert arrivals.at(CALL) == inf
    arrivals.add([*ledger, Received(3, "/b", "d2", ("s1", "s9")), Received(4, "/b", "d2", ("s1",))])
    assert arrivals.at(CALL) == 3


def test_mails_flow_again_when_the_last_late_one_has_come() -> None:
    assert of_mails({"a": 95.0, "b": 101.0}, {"a": 107.0, "b": 102.0}, ended=100.0, now=110.0) == 7
    assert of_mails({"a": 95.0, "b": 101.0}, {"b": 102.0}, ended=100.0, now=110.0) == inf
