"""The judge of a storm: what it must find, and what it must let pass."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.faults.ledgers import HELD_BACK, UNKNOWN, Died, Harm, Received, Role, Row, Sent, Tried, Window
from tests.faults.verdict import MOST_DEATHS, Bounds, Problem, Verdict, judge

BOUNDS = Bounds(enqueue=5, steady=10, giant=60, crowd=60)
SENT = Sent("s1", Role.STEADY, asked=99.9, accepted=100.0, event="e1", deliveries=1)
ROW = Row("d1", "e1", "w1", state="delivered", reason=None)
ONCE_UNKNOWN = replace(ROW, tried=(Tried(UNKNOWN), Tried("204", 102.0, 0.1, number=2)))
ARRIVED = Received(100.1, "/ok/one", "d1", ("s1",))
CHILD_DIED = Window("child", 102, 102, grace=30, died=Died.CHILD)
NODE_DIED = Window("node", 102, 102, grace=150, died=Died.NODE)
DATABASE_DIED = Window("database", 102, 104, grace=50, died=Died.DATABASE)
LOCKED = Window("locks", 95, 120, grace=15, only=frozenset({"d1"}))
POISON = replace(SENT, role=Role.KILLS)
HARM = Harm(101.0, 7, "render:exit", "d1", deadly=True)


def judged(
    sent: Sequence[Sent] = (SENT,),
    received: Sequence[Received] = (ARRIVED,),
    rows: Sequence[Row] = (ROW,),
    *windows: Window,
    harm: Sequence[Harm] = (),
    bounds: Bounds = BOUNDS,
) -> Verdict:
    return judge(sent, received, rows, windows=windows, harm=harm, webhooks={"/ok/batches": "w1"}, bounds=bounds)


def problems(verdict: Verdict) -> list[Problem]:
    assert verdict.passed is (not verdict.problems)
    return list(verdict.problems)


def arrived(*times: float) -> list[Received]:
    return [replace(ARRIVED, at=at) for at in times]


def test_what_arrives_once_and_in_time_passes() -> None:
    verdict = judged()
    assert problems(verdict) == []
    assert (verdict.innocent, verdict.received_again, verdict.sent) == (1, 0, {Role.STEADY: 1})
    assert verdict.delays[Role.STEADY] == [pytest.approx(0.1)]


# Lost


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("delivered", Problem.LOST),
        ("cancelled", Problem.LOST),
        ("ready", Problem.DUE),
        ("claimed", Problem.DUE),
        ("waiting", Problem.DUE),
        (HELD_BACK, Problem.DUE),
    ],
)
def test_what_never_arrives_is_lost_or_still_due_as_the_database_says(state: str, problem: Problem) -> None:
    assert problems(judged(received=(), rows=[replace(ROW, state=state)])) == [problem]


def test_a_delivery_that_was_accepted_and_not_stored_is_lost() -> None:
    assert problems(judged([replace(SENT, deliveries=2)])) == [Problem.LOST]
    assert problems(judged(received=(), rows=())) == [Problem.LOST]


def test_an_innocent_delivery_must_not_be_discarded_even_if_it_arrived() -> None:
    assert problems(judged(rows=[replace(ROW, state="discarded", reason="exhausted")])) == [Problem.DISCARDED]


def test_what_arrived_must_be_on_record() -> None:
    assert problems(judged(rows=[replace(ROW, state="claimed")])) == [Problem.OPEN]


def test_an_event_without_a_receipt_may_be_stored_or_not() -> None:
    uncertain = replace(SENT, event=None, deliveries=None)
    assert problems(judged([uncertain], (), ())) == []
    assert problems(judged([uncertain])) == []
    assert problems(judged([uncertain], [Received(100.1, "/ok/batches", None, ("s1",))])) == []


def test_messages_of_a_batch_are_found_by_their_numbers() -> None:
    sent = [SENT, replace(SENT, number="s2", event="e2")]
    rows = [ROW, replace(ROW, delivery="d2", event="e2")]
    assert problems(judged(sent, [Received(100.1, "/ok/batches", None, ("s1", "s2"))], rows)) == []
    assert problems(judged(sent, [Received(100.1, "/ok/batches", None, ("s2",))], rows)) == [Problem.LOST]


@pytest.mark.parametrize("unasked", [replace(ARRIVED, delivery="d9"), Received(1, "/ok/batches", None, ("s9",))])
def test_what_nobody_sent_is_found(unasked: Received) -> None:
    assert problems(judged(received=[ARRIVED, unasked])) == [Problem.UNASKED]


# Twice


def test_twice_without_a_death_is_doubled() -> None:
    assert problems(judged(received=arrived(100.1, 103.0))) == [Problem.DOUBLED]


def test_an_unknown_attempt_alone_does_not_explain_a_second_request() -> None:
    assert problems(judged(received=arrived(100.1, 103.0), rows=[ONCE_UNKNOWN])) == [Problem.DOUBLED]


def test_a_death_alone_does_not_explain_a_second_request() -> None:
    assert problems(judged((SENT,), arrived(100.1, 103.0), (ROW,), CHILD_DIED)) == [Problem.DOUBLED]


@pytest.mark.parametrize("death", [CHILD_DIED, NODE_DIED])
def test_a_death_between_the_two_with_its_attempt_on_record_explains_one_more(death: Window) -> None:
    row = ONCE_UNKNOWN
    verdict = judged((SENT,), arrived(100.1, 103.0), (row,), death)
    assert problems(verdict) == []
    assert verdict.received_again == 1
    assert problems(judged((SENT,), arrived(100.1, 103.0, 104.0), (row,), death)) == [Problem.DOUBLED]


def test_claims_may_expire_at_any_moment_of_a_halt() -> None:
    """A request that waits to be written when its process is halted is sent when that goes on."""
    halted = Window("halted", 100, 125, grace=15, died=Died.CLAIM)
    once = replace(SENT, asked=98.9, accepted=99.0)
    assert problems(judged((once,), arrived(125.1, 128.0), (ONCE_UNKNOWN,), halted)) == []
    assert problems(judged((once,), arrived(127.1, 128.0), (ONCE_UNKNOWN,), halted)) == [Problem.DOUBLED]
    assert problems(judged((once,), arrived(99.1, 99.9), (ONCE_UNKNOWN,), halted)) == [Problem.DOUBLED]
    killed = replace(halted, died=Died.NODE)  # which happens at its begin
    assert problems(judged((once,), arrived(125.1, 128.0), (ONCE_UNKNOWN,), killed)) == [Problem.DOUBLED]


def test_a_death_before_the_first_or_after_the_second_explains_nothing() -> None:
    row = ONCE_UNKNOWN
    for times in ((100.1, 101.0), (105.0, 106.0)):
        assert problems(judged((SENT,), arrived(*times), (row,), CHILD_DIED)) == [Problem.DOUBLED]


def test_a_database_that_died_may_have_forgotten_one_request_of_just_before() -> None:
    for times in ((101.0, 105.0), (103.0, 103.5)):
        assert problems(judged((SENT,), arrived(*times), (ROW,), DATABASE_DIED)) == []
    for times in ((101.0, 105.0, 106.0), (100.1, 101.0), (105.0, 106.0)):
        assert problems(judged((SENT,), arrived(*times), (ROW,), DATABASE_DIED)) == [Problem.DOUBLED]
    child_died = replace(CHILD_DIED, began=107, ended=107)
    assert problems(judged((SENT,), arrived(101.0, 105.0, 108.0), (ONCE_UNKNOWN,), DATABASE_DIED, child_died)) == []
    long_before = replace(DATABASE_DIED, began=109, ended=111)
    assert problems(judged((SENT,), arrived(100.1, 112.0), (ROW,), long_before)) == [Problem.DOUBLED]


def test_what_was_accepted_before_a_database_died_is_lost_if_it_is_not_there() -> None:
    assert problems(judged((SENT,), (), (), DATABASE_DIED)) == [Problem.LOST]


def test_a_lock_is_no_death() -> None:
    row, locked = ONCE_UNKNOWN, replace(LOCKED, began=102)
    assert problems(judged((SENT,), arrived(100.1, 103.0), (row,), locked)) == [Problem.DOUBLED]


@pytest.mark.parametrize(("read_at", "found"), [(101.9, []), (101.4, [Problem.DOUBLED])])
def test_a_timeout_explains_a_second_request_only_if_the_receiver_read_the_first_late(
    read_at: float, found: list[Problem]
) -> None:
    row = replace(ROW, tried=(Tried("timeout", 100.0, 3.0), Tried("204", 105.0, 0.1, number=2)))
    assert problems(judged(received=arrived(read_at, 105.0), rows=[row])) == found
    assert problems(judged(received=arrived(read_at, 105.0, 106.0), rows=[row])) == [Problem.DOUBLED]
    other = replace(row, tried=(Tried("connection_reset", 100.0, 3.0), *row.tried[1:]))
    assert problems(judged(received=arrived(read_at, 105.0), rows=[other])) == [Problem.DOUBLED]


@pytest.mark.parametrize(
    ("outcome", "began", "only", "found"),
    [
        ("connection_reset", 103.0, {"w1"}, []),
        ("connection_reset", 104.0, {"w1"}, [Problem.DOUBLED]),  # the fault came later
        ("connection_reset", 103.0, {"w2"}, [Problem.DOUBLED]),  # it is another receiver's
        ("connection_reset", 103.0, None, [Problem.DOUBLED]),  # it has nothing to do with receivers
        ("500", 103.0, {"w1"}, [Problem.DOUBLED]),
    ],
)
def test_a_lost_connection_explains_a_second_request_only_if_a_fault_of_the_receivers_cut_off_the_answer(
    outcome: str, began: float, only: set[str] | None, found: list[Problem]
) -> None:
    fault = Window("reset", began, began, grace=10.0, only=frozenset(only) if only is not None else None)
    row = replace(ROW, webhook="w1", tried=(Tried(outcome, 102.9, 0.1), Tried("204", 105.0, 0.1, number=2)))
    assert problems(judged((SENT,), arrived(103.0, 105.0), (row,), fault)) == found
    assert problems(judged((SENT,), arrived(101.0, 105.0), (row,), fault)) == [Problem.DOUBLED]


def test_what_is_doubled_is_told_with_its_attempts() -> None:
    verdict = judged(received=arrived(100.1, 103.0), rows=[ONCE_UNKNOWN])
    assert verdict.problems[Problem.DOUBLED] == [
        "steady event s1, delivery d1: 1 of 2 requests, at 0.1, 3.0 s; attempts: unknown, 204 after 0.1 s"
    ]


# Late


def test_in_calm_it_is_late_beyond_its_bound() -> None:
    assert problems(judged(received=arrived(110.0))) == []
    assert problems(judged(received=arrived(110.1))) == [Problem.LATE]


def test_each_role_has_its_own_bound() -> None:
    assert problems(judged([replace(SENT, role=Role.GIANT)], arrived(150.0))) == []
    assert problems(judged([replace(SENT, role=Role.GIANT)], arrived(161.0))) == [Problem.LATE]


def test_a_death_delays_what_was_on_its_way_by_its_grace() -> None:
    assert problems(judged((SENT,), arrived(132.0), (ROW,), CHILD_DIED)) == []
    assert problems(judged((SENT,), arrived(132.1), (ROW,), CHILD_DIED)) == [Problem.LATE]


def test_a_death_before_it_was_accepted_or_after_it_was_due_delays_nothing() -> None:
    early = replace(CHILD_DIED, began=99.0, ended=99.0)
    due = replace(CHILD_DIED, began=110.5, ended=110.5)
    assert problems(judged((SENT,), arrived(111.0), (ROW,), early)) == [Problem.LATE]
    assert problems(judged((SENT,), arrived(111.0), (ROW,), due)) == [Problem.LATE]


def test_one_death_may_follow_another_but_not_endlessly() -> None:
    chain = [replace(CHILD_DIED, began=at, ended=at) for at in (105.0, 130.0, 155.0)]
    assert problems(judged((SENT,), arrived(160.0), (ROW,), *chain)) == []
    assert problems(judged((SENT,), arrived(161.0), (ROW,), *chain)) == [Problem.LATE]
    assert problems(judged((SENT,), arrived(161.0), (ONCE_UNKNOWN,), *chain)) == []
    assert problems(judged((SENT,), arrived(161.0), (ROW,), *chain, bounds=replace(BOUNDS, links=3))) == []


def test_a_fault_of_what_no_delivery_needs_delays_none() -> None:
    mail = replace(CHILD_DIED, began=105.0, ended=105.0, delays=False)
    assert problems(judged((SENT,), arrived(111.0), (ROW,), mail)) == [Problem.LATE]


def test_a_lock_delays_the_rows_that_it_holds_and_no_others() -> None:
    assert problems(judged((SENT,), arrived(135.0), (ROW,), LOCKED)) == []
    assert problems(judged((SENT,), arrived(135.1), (ROW,), LOCKED)) == [Problem.LATE]
    for only, late in (("w1", []), ("d2", [Problem.LATE])):
        assert problems(judged((SENT,), arrived(135.0), (ROW,), replace(LOCKED, only=frozenset({only})))) == late


def test_what_is_sent_long_after_later_ones_for_its_webhook_is_overtaken() -> None:
    """Even where faults explain that it is late."""
    stood = Window("away", 95, 200, grace=15)
    later = replace(SENT, number="s2", event="e2", accepted=111.0)

    def with_later(
        at: float,
        *more: Window,
        row: Row = ROW,
        webhook: str = "w1",
        accepted: float = 111.0,
        role: Role = Role.STEADY,
    ) -> list[Problem]:
        second = replace(ROW, delivery="d2", event="e2", webhook=webhook)
        came = [*arrived(at), replace(ARRIVED, at=150.0, delivery="d2", numbers=("s2",))]
        # The ledgers of several senders are read one after the other, so by time they are in no order.
        sent = replace(later, role=role, asked=accepted, accepted=accepted), replace(SENT, role=role)
        return problems(judged(sent, came, (row, second), stood, *more))

    assert with_later(161.0) == [Problem.OVERTAKEN]
    assert with_later(159.0) == []
    assert with_later(161.0, webhook="w2") == []
    assert with_later(161.0, role=Role.CROWD) == []  # its deliveries wait for each other
    assert with_later(161.0, accepted=109.0) == []
    tried = replace(ROW, tried=(Tried("500", 101.0, 0.1), Tried("204", 161.0, 0.1, number=2)))
    assert with_later(161.0, row=tried) == []
    assert with_later(161.0, CHILD_DIED) == []
    assert with_later(161.0, replace(CHILD_DIED, began=99.0, ended=99.5)) == [Problem.OVERTAKEN]
    assert with_later(161.0, replace(CHILD_DIED, began=161.5, ended=161.5)) == [Problem.OVERTAKEN]


def test_an_enqueue_that_takes_long_is_late() -> None:
    assert problems(judged([replace(SENT, asked=94.9)])) == [Problem.LATE]


# Poison, and webhooks at fault


def test_a_delivery_that_kills_ends_as_render_failed() -> None:
    ended = replace(ROW, state="discarded", reason="render_failed")
    assert problems(judged([POISON], (), [ended], harm=[HARM] * 3)) == []
    for state, reason in (("ready", None), ("waiting", None), ("delivered", None), ("discarded", "exhausted")):
        verdict = judged([POISON], (), [replace(ROW, state=state, reason=reason)], harm=[HARM])
        assert problems(verdict) == [Problem.POISON]


def test_a_delivery_may_not_kill_an_eighth_worker_unless_a_death_was_forgotten() -> None:
    ended = replace(ROW, state="discarded", reason="render_failed")
    assert problems(judged([POISON], (), [ended], harm=[HARM] * (MOST_DEATHS + 1))) == [Problem.POISON]
    for forgetful in (NODE_DIED, DATABASE_DIED):
        assert problems(judged([POISON], (), [ended], forgetful, harm=[HARM] * (MOST_DEATHS + 1))) == []
    for other in (CHILD_DIED, replace(NODE_DIED, began=99, ended=99)):
        assert problems(judged([POISON], (), [ended], other, harm=[HARM] * (MOST_DEATHS + 1))) == [Problem.POISON]


@pytest.mark.parametrize("role", [Role.KILLS, Role.RAISES])
def test_poison_that_harmed_nobody_shows_that_the_rig_is_broken(role: Role) -> None:
    ended = replace(ROW, state="discarded", reason="render_failed")
    assert problems(judged([replace(SENT, role=role)], (), [ended])) == [Problem.POISON]


def test_a_delivery_that_makes_code_raise_ends_or_waits() -> None:
    raises, harm = [replace(SENT, role=Role.RAISES)], [replace(HARM, deadly=False)]
    for state in ("discarded", "waiting", "delivered"):
        assert problems(judged(raises, (), [replace(ROW, state=state)], harm=harm)) == []
    for state in ("ready", "claimed", "cancelled"):
        assert problems(judged(raises, (), [replace(ROW, state=state)], harm=harm)) == [Problem.POISON]


def test_behind_an_open_circuit_a_delivery_that_would_raise_may_wait_without_an_attempt() -> None:
    held_back = [replace(ROW, state=HELD_BACK)]
    assert problems(judged([replace(SENT, role=Role.RAISES)], (), held_back)) == []
    assert problems(judged([POISON], (), held_back, harm=[HARM])) == [Problem.POISON]
    assert problems(judged(rows=held_back)) == [Problem.OPEN]


def test_what_is_for_a_webhook_at_fault_waits_or_arrives_and_is_not_discarded() -> None:
    troubled = [replace(SENT, role=Role.TROUBLED)]
    for state in ("ready", "claimed", "waiting", "delivered"):
        assert problems(judged(troubled, (), [replace(ROW, state=state)])) == []
    assert problems(judged(troubled, (), [replace(ROW, state="discarded", reason="exhausted")])) == [Problem.TROUBLED]
