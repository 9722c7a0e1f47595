"""How late deliveries are said to be, by what both ends wrote down."""

from dataclasses import replace

import pytest

from tests.faults.ledgers import Received, Role, Sent
from tests.faults.soak.lateness import FORGET_SECONDS, Lateness

SENT = Sent("s1", Role.STEADY, 10.0, 10.2, "e1", 2)
CAME = Received(10.5, "/ok/a", "d1", ("s1",), attempt=1)


def test_each_delivery_counts_from_the_receipt() -> None:
    late = Lateness(0.5).take([SENT], [CAME, replace(CAME, at=11.2, path="/ok/b")])
    assert late.first == pytest.approx([0.3, 1.0])
    assert late.messages == 2


def test_a_callback_that_comes_before_the_receipt_is_in_the_ledger_waits_for_it() -> None:
    lateness = Lateness(0.5)
    assert lateness.take([replace(SENT, event=None, accepted=10.0)], [CAME]).first == []
    assert lateness.take([SENT], []).first == pytest.approx([0.3])
    assert (lateness.accepted, lateness.refused) == (1, 0)


def test_one_that_came_before_its_receipt_is_not_late() -> None:
    assert Lateness(0.5).take([SENT], [replace(CAME, at=10.1)]).first == [0]


def test_all_messages_of_a_batch_count() -> None:
    late = Lateness(0.5).take([SENT, replace(SENT, number="s2")], [replace(CAME, numbers=("s1", "s2"))])
    assert (len(late.first), late.messages) == (2, 2)


def test_what_has_not_arrived_everywhere_is_still_missing() -> None:
    lateness = Lateness(0.5)
    lateness.take([SENT], [CAME])
    assert lateness.oldest(70.2) == pytest.approx(60)
    lateness.take([], [replace(CAME, at=70.0, path="/ok/b")])
    assert lateness.oldest(80) == 0


def test_a_retry_counts_from_the_end_of_its_delay() -> None:
    lateness = Lateness(0.5)
    failed = replace(CAME, path="/again/again", answered=False)
    assert lateness.take([], [failed]).messages == 0
    late = lateness.take([], [replace(failed, at=11.2, attempt=2, answered=True)])
    assert (late.retries, late.messages) == (pytest.approx([0.2]), 1)


def test_a_request_that_no_receipt_explains_is_forgotten() -> None:
    lateness = Lateness(0.5)
    lateness.take([], [CAME])
    late = lateness.take([], [replace(CAME, at=CAME.at + FORGET_SECONDS, numbers=("s9",))])
    assert (late.first, late.messages) == ([], 1)
    assert lateness.take([SENT], []).first == []


def test_refused_events_and_errors_are_counted() -> None:
    lateness = Lateness(0.5)
    lateness.take([replace(SENT, event=None), replace(SENT, event=None, error="the API answered 500")], [])
    assert (lateness.refused, lateness.errors) == (2, ["the API answered 500"])
