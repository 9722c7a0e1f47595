"""What the judge finds wrong with the attempts of one delivery."""

from collections.abc import Sequence

import pytest

from dispatcher.webhooks.contract import Verdict as Judgement
from tests.faults.attempt_rules import after_acknowledgement, off_record, out_of_order, sent_again, too_early
from tests.faults.ledgers import UNKNOWN, Died, Received, Row, Tried, Window

FAILED = Tried("500", 10.0, 0.5, 1, Judgement.TEMPORARY, "r1", recorded=10.6)
DONE = Tried("204", 13.0, 0.1, 2, Judgement.ACKNOWLEDGED, "r2", recorded=13.2)
DELAYS = [2.0, 4.0]


def row(*tried: Tried) -> Row:
    return Row("d1", "e1", "w1", "delivered", None, tried)


def arrivals(*requests: tuple[float, str, int | None]) -> list[Received]:
    return [Received(at, "/ok", "d1", ("s1",), request, attempt) for at, request, attempt in requests]


BOTH = arrivals((10.1, "r1", 1), (13.05, "r2", 2))


def test_a_failed_attempt_and_its_retry_break_no_rule() -> None:
    delivered = row(FAILED, DONE)
    assert not list(sent_again(BOTH))
    assert not list(off_record(delivered, BOTH, ()))
    assert not list(after_acknowledgement(delivered, BOTH))
    assert not list(out_of_order(delivered, BOTH, ()))
    assert not list(too_early(delivered, DELAYS))


def test_one_request_that_arrives_twice_is_found() -> None:
    assert list(sent_again(arrivals((1, "r1", 1), (2, "r1", 1)))) == ["request r1 arrived 2 times"]


def test_a_request_off_the_record_needs_an_unknown_attempt_each() -> None:
    came = arrivals((1, "r8", 1), (2, "r9", 2), (3, "r2", 3))
    unknown = Tried(UNKNOWN, number=1)
    assert len(list(off_record(row(DONE), came, ()))) == 2
    assert list(off_record(row(unknown, DONE), came, ())) == ["request r9, attempt 2, is not on record"]
    assert not list(off_record(row(unknown, unknown, DONE), came, ()))


@pytest.mark.parametrize(("began", "found"), [(3.0, 0), (9.0, 1)])
def test_a_database_that_died_just_after_a_request_may_have_forgotten_it(began: float, found: int) -> None:
    crash = Window("crash", began, began + 1, grace=10, died=Died.DATABASE)
    for recorded_first in (True, False):
        one, other = ("r2", "r9") if recorded_first else ("r9", "r2")
        came = arrivals((2.5, one, 1), (13.1, other, 1))
        assert len(list(off_record(row(DONE), came, [crash]))) == found
        assert len(list(off_record(row(DONE), [*came, *arrivals((14, "r8", 1))], [crash]))) == found + 1


def test_a_request_after_a_recorded_acknowledgement_is_found_and_one_that_crosses_it_is_not() -> None:
    for late, found in ((0.5, 0), (2.0, 1)):
        came = [*BOTH, *arrivals((DONE.recorded + late, "r3", 3))]
        assert len(list(after_acknowledgement(row(FAILED, DONE), came))) == found


@pytest.mark.parametrize("numbers", [[2], [1, 3], [1, 1], [2, 1]])
def test_attempts_must_be_numbered_without_a_gap(numbers: Sequence[int]) -> None:
    tried = [Tried("204", number=number) for number in numbers]
    assert list(out_of_order(row(*tried), (), ())) == [f"attempts on record: {numbers}"]


@pytest.mark.parametrize("second", [1, 2])
def test_attempts_must_arrive_in_their_order(second: int) -> None:
    came = arrivals((1, "r1", 2), (2, "r2", second))
    assert list(out_of_order(row(FAILED, DONE), came, ())) == [f"attempt {second} arrived after attempt 2"]


def test_a_retry_must_not_begin_before_its_schedule() -> None:
    third = Tried("204", 15.0, 0.1, 3, Judgement.ACKNOWLEDGED)
    failed_again = Tried("500", 12.4, 0.5, 2, Judgement.TEMPORARY)
    assert list(too_early(row(FAILED, failed_again, third), DELAYS)) == [
        "attempt 2 began 1.90 s after the one before, its schedule says 2.00 s",
        "attempt 3 began 2.10 s after the one before, its schedule says 4.00 s",
    ]


def test_nothing_is_too_early_after_an_attempt_without_a_known_end() -> None:
    assert not list(too_early(row(Tried(UNKNOWN, number=1), Tried("204", 0.1, 0.1, 2)), DELAYS))
