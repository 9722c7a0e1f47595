"""A delivery is explained in each state, by what holds it, with what comes next and what can be done."""

from datetime import timedelta
from typing import Any

import pytest

from dispatcher.states import Reason, State
from dispatcher.webhooks.explanation.delivery import explain_delivery
from dispatcher.webhooks.explanation.situation import Before, DeliverySituation
from dispatcher.webhooks.explanation.words import Sentence, exact_span
from tests.unit.dispatcher.webhooks.explanation.situations import (
    DAY,
    MINUTE,
    NOW,
    attempt,
    delivery,
    open_circuit,
    webhook,
)


def said(one: DeliverySituation) -> list[Sentence]:
    return explain_delivery(one, NOW)


def codes(one: DeliverySituation) -> list[str]:
    return [sentence.code for sentence in said(one)]


def text_of(one: DeliverySituation, code: str) -> str:
    (text,) = [sentence.text for sentence in said(one) if sentence.code == code]
    return text


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("reason", [None, *Reason])
def test_each_state_and_each_reason_has_a_sentence(state: State, reason: Reason | None) -> None:
    found = codes(delivery(state, reason=reason, finished_at=NOW))
    if state == State.DISCARDED:
        assert found[0] == f"discarded_{reason or Reason.EXHAUSTED}"
    else:
        ready_or = {State.READY: "in_turn", State.CLAIMED: "claim_expired", State.WAITING: "retry_due"}
        assert found[0] == ready_or.get(state, str(state))


HELD: dict[str, dict[str, Any]] = {
    "webhook_deleted": {"deleted_at": NOW - MINUTE},
    "account_deleted": {"account_deleted_at": NOW - MINUTE, "account_suspended_at": NOW - MINUTE},
    "account_suspended": {"account_suspended_at": NOW - MINUTE},
    "webhook_disabled": {"enabled": False},
    "webhook_quarantined": {"quarantined_at": NOW - MINUTE},
    "webhook_newer": {"is_newer": True},
}


@pytest.mark.parametrize(
    ("held", "end", "can"),
    [
        ("webhook_deleted", "ends_soon", []),
        ("account_deleted", "ends_soon", ["can_cancel"]),
        ("account_suspended", "never_given_up", ["can_resume", "can_cancel"]),
        ("webhook_disabled", "given_up_at", ["can_enable", "can_cancel"]),
        ("webhook_quarantined", "given_up_at", ["can_release", "can_cancel"]),
        ("webhook_newer", "never_given_up", ["can_cancel"]),
    ],
)
def test_what_holds_all_of_a_webhook_comes_first_with_how_that_ends(held: str, end: str, can: list[str]) -> None:
    assert codes(delivery(State.READY, of=webhook(**HELD[held]))) == [held, end, *can]


@pytest.mark.parametrize("held", HELD)
def test_what_will_hold_a_retry_is_told_while_it_waits(held: str) -> None:
    found = codes(delivery(State.WAITING, of=webhook(**HELD[held]), due_at=NOW + MINUTE, schedule_step=1))
    assert found[0] == (held if held == "webhook_deleted" else "retry_due")
    assert held in found


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"of": webhook(enabled=False)}, "webhook_disabled"),
        ({"of": webhook(quarantined_at=NOW)}, "exhausted"),
        ({"of": webhook(circuit=open_circuit())}, "exhausted"),
        ({"of": webhook(enabled=False), "expires_at": NOW + DAY}, "expired"),
        ({"of": webhook(enabled=False), "expires_at": NOW + 2 * DAY}, "webhook_disabled"),
    ],
)
def test_what_cannot_be_attempted_ends_at_its_time_for_the_reason_that_upkeep_gives(
    changes: dict[str, Any], reason: str
) -> None:
    at = "2026-03-03 12:00:00Z (in 1 day)"
    assert text_of(delivery(State.READY, **changes), "given_up_at") == f"If that lasts until {at}, it ends as {reason}."
    over = delivery(State.READY, **changes, give_up_at=NOW)
    if "expires_at" not in changes:
        assert text_of(over, "ends_soon") == f"It ends as {reason} within two minutes."


def test_who_disabled_a_webhook_and_why_is_told() -> None:
    of = webhook(enabled=False, disabled_at=NOW - 90 * MINUTE, disabled_by="response rule", disabled_reason="410")
    assert text_of(delivery(State.READY, of=of), "webhook_disabled") == (
        "The webhook has been disabled since 2026-03-02 10:30:00Z (1 h 30 min ago), by response rule (“410”): nothing "
        "is sent to it until it is enabled."
    )


def test_behind_an_open_circuit_the_place_and_the_next_trial_are_told() -> None:
    behind = delivery(State.READY, of=webhook(circuit=open_circuit()), before=Before(3, complete=True))
    assert codes(behind) == ["behind_circuit", "circuit_open", "given_up_at", "can_try_at_once", "can_send_at_once"]
    assert "3 deliveries of the webhook are before it" in text_of(behind, "behind_circuit")
    assert "The next trial request is due at 2026-03-02 12:01:00Z (in 1 min)" in text_of(behind, "circuit_open")
    first = delivery(State.READY, of=webhook(circuit=open_circuit()), before=Before(0, complete=True))
    assert "next to be sent as a trial request" in text_of(first, "behind_circuit")


def test_what_a_person_asked_for_passes_an_open_circuit() -> None:
    asked = delivery(State.READY, of=webhook(circuit=open_circuit()), bypasses_circuit=True)
    assert codes(asked) == ["passes_circuit", "in_turn", "can_try_at_once", "can_cancel"]


def test_a_suspect_is_held_back_by_no_circuit() -> None:
    assert codes(delivery(State.READY, of=webhook(circuit=open_circuit()), deaths=2))[0] == "suspect"


@pytest.mark.parametrize(
    ("rate", "before", "turn"),
    [
        (0.5, Before(0, complete=True), "within about 2 s"),
        (5.0, Before(49, complete=True), "within about 10 s"),
        (5.0, Before(1000, complete=False), "not before 3 min 20 s have passed"),
        (float("nan"), Before(0, complete=True), "within about less than 1 s"),
        (float("-inf"), Before(0, complete=True), "within about 1 min 40 s"),
    ],
)
def test_the_turn_of_a_paced_one_follows_from_its_rate_limit_and_place(rate: float, before: Before, turn: str) -> None:
    assert turn in text_of(delivery(State.READY, of=webhook(rate_limit=rate), before=before), "paced")


def test_one_that_was_due_long_ago_waits_for_room_unless_nothing_delivers() -> None:
    due = {"due_at": NOW - MINUTE, "before": Before(0, complete=True)}
    assert codes(delivery(State.READY, **due)) == ["in_turn", "waits_for_room", "can_cancel"]
    assert codes(delivery(State.READY, **due, is_delivering=False)) == ["nothing_delivers", "in_turn", "can_cancel"]
    assert "waits_for_room" not in codes(delivery(State.READY))


@pytest.mark.parametrize(
    ("one", "is_told"),
    [
        (delivery(State.READY, is_delivering=False), True),
        (delivery(State.READY, of=webhook(circuit=open_circuit()), is_delivering=False), True),
        (delivery(State.READY, of=webhook(enabled=False), is_delivering=False), False),
        (delivery(State.WAITING, due_at=NOW - MINUTE, is_delivering=False), True),
        (delivery(State.WAITING, due_at=NOW + MINUTE, is_delivering=False), False),
        (delivery(State.CLAIMED, claimed_until=NOW - MINUTE, is_delivering=False), True),
        (delivery(State.CLAIMED, claimed_until=NOW + MINUTE, is_delivering=False), False),
        (delivery(State.DISCARDED, is_delivering=False), False),
        (delivery(State.READY, is_delivering=True), False),
    ],
)
def test_that_nothing_delivers_comes_first_where_something_should_have_happened(
    one: DeliverySituation, is_told: bool
) -> None:
    assert (codes(one)[0] == "nothing_delivers") is is_told


def test_a_fault_of_the_hosts_is_told_where_something_should_have_happened() -> None:
    late = delivery(State.READY, host_faults="tls dns")
    assert codes(late)[0] == "host_fault"
    assert "names cannot be looked up and nobody's certificate is accepted" in text_of(late, "host_fault")
    assert codes(delivery(State.READY, host_faults="tls", is_delivering=False))[0] == "nothing_delivers"
    assert "host_fault" not in codes(delivery(State.WAITING, due_at=NOW + MINUTE, host_faults="tls"))


def test_one_that_an_erasure_cancelled_says_so_and_cannot_be_redelivered() -> None:
    erased = delivery(State.CANCELLED, is_event_kept=False, is_event_erased=True)
    assert "because its message was erased" in text_of(erased, "cancelled")
    assert "its message was erased" in text_of(erased, "cannot_redeliver")
    before = delivery(State.CANCELLED, is_event_kept=False, is_event_erased=True, cancelled_by="key k1")
    assert "by key k1" in text_of(before, "cancelled")


@pytest.mark.parametrize(("give_up_in", "is_over"), [(-MINUTE, True), (DAY, False)])
def test_an_expired_event_is_not_sent_unless_a_person_redelivered_it_since(give_up_in: Any, is_over: bool) -> None:
    expired = delivery(State.READY, expires_at=NOW - MINUTE, give_up_at=NOW + give_up_in)
    assert (codes(expired)[0] == "event_expired") is is_over


def test_a_claim_is_an_attempt_under_way_until_it_ends() -> None:
    claimed = {"attempt_count": 2, "last": attempt()}
    held = delivery(State.CLAIMED, claimed_until=NOW + MINUTE, **claimed)
    assert codes(held) == ["attempt_under_way", "last_attempt"]
    assert codes(delivery(State.CLAIMED, claimed_until=NOW - MINUTE, **claimed)) == ["claim_expired", "last_attempt"]


def test_a_retry_is_told_with_its_number_its_time_and_the_last_one() -> None:
    waits = delivery(State.WAITING, due_at=NOW + MINUTE, schedule_step=1, attempt_count=1, last=attempt())
    assert [sentence.text for sentence in said(waits)] == [
        "Retry 1 of 2 is due at 2026-03-02 12:01:00Z (in 1 min), and is sent up to 5 s later.",
        "At attempt 1, at 2026-03-02 11:59:00Z (1 min ago), the receiver answered 503, which counts as temporary.",
        "If all fail, the last is at about 2026-03-02 12:03:00Z (in 3 min); then it ends as exhausted.",
        "To send it at once, cancel it and redeliver it.",
    ]
    last = delivery(State.WAITING, due_at=NOW, schedule_step=2)
    assert "if it fails, the delivery ends as exhausted" in text_of(last, "last_retry")
    expires = delivery(State.WAITING, due_at=NOW, schedule_step=1, expires_at=NOW + MINUTE)
    assert "until its event expires, at 2026-03-02 12:01:00Z" in text_of(expires, "last_retry")


@pytest.mark.parametrize(("asks", "due_in", "is_told"), [(True, 5, True), (True, 0, False), (False, 5, False)], ids=str)
def test_a_retry_that_the_receiver_put_off_says_so(asks: bool, due_in: int, is_told: bool) -> None:
    waits = delivery(
        State.WAITING, due_at=NOW + due_in * MINUTE, schedule_step=1, last=attempt(status=429, asks_for_time=asks)
    )
    assert ("retry_after_honoured" in codes(waits)) is is_told


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"messages": 12}, "the receiver answered 503 to a request with 12 messages, which counts as temporary."),
        ({"status": None, "failure": "tls", "failure_detail": "expired"}, "there was no answer: tls (expired)."),
        (
            {"status": None, "failure": "token", "failure_detail": "401", "messages": 3},
            "no token could be fetched (401), so the receiver was not called.",
        ),
    ],
)
def test_the_last_attempt_is_told_by_how_it_ended(changes: dict[str, Any], part: str) -> None:
    assert text_of(delivery(State.WAITING, last=attempt(**changes)), "last_attempt").endswith(part)


def test_an_unknown_outcome_says_that_the_receiver_can_get_it_twice() -> None:
    unknown = delivery(State.READY, last=attempt(outcome_unknown=True, status=None, verdict=None))
    assert "can get the message twice" in text_of(unknown, "outcome_unknown")


@pytest.mark.parametrize(("limit", "how"), [(1, "alone"), (5, "with 4 others at most"), (-3, "alone")])
def test_one_of_a_batch_that_failed_is_sent_with_fewer(limit: int, how: str) -> None:
    assert how in text_of(delivery(State.READY, batch_limit=limit), "smaller_batch")


@pytest.mark.parametrize(
    ("changes", "can"),
    [
        ({}, "can_redeliver"),
        ({"of": webhook(enabled=False)}, "can_redeliver"),
        ({"of": webhook(deleted_at=NOW)}, "cannot_redeliver"),
        ({"is_event_kept": False}, "cannot_redeliver"),
    ],
)
@pytest.mark.parametrize("state", [State.DELIVERED, State.DISCARDED, State.CANCELLED])
def test_a_closed_one_says_whether_it_can_be_redelivered(state: State, changes: dict[str, Any], can: str) -> None:
    assert codes(delivery(state, **changes))[-1] == can


def test_why_its_schedule_is_over_is_told_apart() -> None:
    retried = delivery(State.DISCARDED, reason=Reason.EXHAUSTED, schedule_step=2)
    assert "every retry of its schedule failed" in said(retried)[0].text
    held = delivery(State.DISCARDED, reason=Reason.EXHAUSTED, schedule_step=1)
    assert "the time of its whole schedule passed" in said(held)[0].text
    killed = delivery(State.DISCARDED, reason=Reason.RENDER_FAILED, deaths=7)
    assert "its handling was cut off 7 times" in said(killed)[0].text


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.0114, "11 ms"), (1.5, "1,500 ms"), (30, "30 s"), (90.4, "1 min 30 s")]
)
def test_an_answer_time_is_told_as_it_was_measured(seconds: float, written: str) -> None:
    assert exact_span(timedelta(seconds=seconds)) == written
