"""The core of delivery in random order. Events come; several loops claim, send, get answers, record, die or hang;
time passes; the sweep and upkeep run; people redeliver, cancel and change webhooks. After every step the rows are
compared with what was sent and answered, and with the table of transitions. In the end everything must end.

The loops are the product's own, on the real database. Only their transport is a list of requests in flight, and time
passes by moving what the database holds into the past. `./run.sh fuzz` does the same for longer.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts.accounts import find_account
from dispatcher.db.models import Webhook
from dispatcher.deliveries.redelivery import cancel, redeliver
from dispatcher.errors import WrongState
from dispatcher.settings import Settings
from dispatcher.states import CLOSED, TRANSITIONS, Reason, State
from dispatcher.transport.exchange import Failure, FailureKind, Reply
from dispatcher.wake import DELIVER, SUSPECTS
from tests.factories import (
    MESSAGE,
    RECEIVED,
    TESTER,
    change_webhook,
    make_webhook,
    rows,
    sweep_once,
    upkeep_once,
)
from tests.installations import installation_for
from tests.stepped_loop import Attempt, SteppedLoop

TASKS = DELIVER, DELIVER, DELIVER, SUSPECTS  # of the loops
MOVED = "deliveries", "circuit_breakers", "events"  # the tables whose times pass
EXAMPLES = max(6, int(os.environ.get("FUZZ_EXAMPLES", "6")) // 3)
STEPS = 60
MOST = 12  # deliveries
ROUNDS = 60  # within which everything must end that can

ANSWERS: dict[str, Reply | Failure] = {
    "acknowledged": Reply(204, (), b""),
    "rejected": Reply(400, (), b"no"),
    "temporary": Reply(503, (), b"later"),
    "timeout": Failure(FailureKind.TIMEOUT, "no answer"),
    "not sent": Failure(FailureKind.NOT_SENT, "no turn"),
}
NUMBER = st.integers(0, 11)
OFTEN = st.sampled_from([True, True, True, False])


class Deliveries(RuleBasedStateMachine):
    """The installation; see the module. Rules have no preconditions: loops choose by chance, so these would differ in a
    second run."""

    def __init__(self, database: Engine, settings: Settings, empty: Callable[[], None]) -> None:
        super().__init__()
        self._database, self._settings = database, settings
        empty()
        self._loops = [SteppedLoop(settings, task) for task in TASKS]
        self._sent: set[Attempt] = set()
        self._acknowledged: set[Attempt] = set()
        self._rejected: set[Attempt] = set()
        self._rejected_alone: set[Attempt] = set()
        self._lost: set[Attempt] = set()  # claims that may have expired, or whose loop died
        self._before: dict[str, State] = {}
        self._opened: dict[str, int] = {}  # delivery -> attempts made before it was last opened again

    @initialize()
    def register(self) -> None:
        self._webhooks = [
            make_webhook(self._database, self._settings, url=f"http://127.0.0.1/{name}", contract=contract)
            for name, contract in (("one", {}), ("many", {"batch_size": 3}))
        ]
        self.events_come(2)

    # ---- what happens

    @rule(count=st.integers(1, 3))
    def events_come(self, count: int) -> None:
        for _ in range(count if len(self._before) < MOST else 0):
            enqueue(RECEIVED, MESSAGE, account="acme")

    @rule(place=NUMBER, sends=OFTEN)
    def a_loop_claims(self, place: int, sends: bool) -> None:
        loop = self._loops[place % len(TASKS)]
        if not loop.loop._unsent:
            loop.loop._claim()
        if sends:
            self._send(loop)

    @rule()
    def those_that_have_claimed_send(self) -> None:
        for loop in self._loops:
            self._send(loop)

    @rule(place=NUMBER, answer=st.sampled_from([*ANSWERS]), records=OFTEN)
    def an_answer_comes(self, place: int, answer: str, records: bool) -> None:
        for loop in [loop for loop in self._loops if loop.transport.requests][: 1 + place % 2]:
            self._answer(loop, place, answer)
            if records:
                loop.write()

    @rule()
    def results_are_recorded(self) -> None:
        for loop in self._loops:
            loop.write()

    @rule(place=NUMBER, node=st.booleans(), stuck=st.booleans())
    def a_loop_dies(self, place: int, node: bool, stuck: bool) -> None:
        self._lost |= self._claimed()
        self._loops[place % len(TASKS)].die(node=node, stuck=stuck)

    @rule(minutes=st.sampled_from([1, 3, 15]), sweeps=OFTEN)
    def time_passes(self, minutes: int, sweeps: bool) -> None:
        self._pass_time(timedelta(minutes=minutes))
        if sweeps:
            sweep_once(self._settings)

    @rule(
        what=st.sampled_from(["sweep", "upkeep", "redeliver", "cancel", "enable", "disable", "rename", "delete"]),
        place=NUMBER,
    )
    def something_else_happens(self, what: str, place: int) -> None:
        match what if self._before else "upkeep":
            case "sweep":
                sweep_once(self._settings)
            case "upkeep":
                upkeep_once(self._settings)
            case "redeliver":
                self._redeliver(*self._chosen(place))
            case "cancel":
                delivery, state = self._chosen(place)
                assert self._does(cancel, delivery) == (State.CANCELLED in TRANSITIONS[state]), state
            case change:
                self._change(self._webhooks[place % 2], change if place < 4 else "enable")

    # ---- what must hold

    @invariant()
    def every_change_is_a_transition(self) -> None:
        now = {str(row.id): State(row.state) for row in self._rows()}
        for delivery, before in self._before.items():
            assert delivery in now, "a delivery is gone"
            assert now[delivery] == before or now[delivery] in TRANSITIONS[before], f"{before} -> {now[delivery]}"
        self._before = now

    @invariant()
    def each_row_says_one_thing(self) -> None:
        attempts = self._attempts()
        for row in self._rows():
            state = State(row.state)
            assert (state is State.CLAIMED) == (row.claimed_by is not None) == (row.claimed_until is not None)
            assert (state in CLOSED) == (row.finished_at is not None)
            assert (state is State.DISCARDED) == (row.reason is not None)
            assert row.is_due or state is not State.READY
            made = attempts.get(str(row.id), {})
            assert set(made) == set(range(1, row.attempt_count + (state is not State.CLAIMED))), "numbers of attempts"
            since = [verdict for number, verdict in made.items() if number > self._opened.get(str(row.id), 0)]
            assert (state is State.DELIVERED) == ("acknowledged" in since)
            match row.reason:
                case Reason.REJECTED:
                    assert (str(row.id), row.attempt_count) in self._rejected_alone
                case Reason.EXHAUSTED:
                    assert since
                case Reason.WEBHOOK_DELETED:
                    assert self._row("webhooks", row.webhook_id).deleted_at is not None
                case Reason.RENDER_FAILED:
                    assert row.deaths > 0
                case reason:
                    assert reason is None

    @invariant()
    def what_is_recorded_has_happened(self) -> None:
        for delivery, made in self._attempts().items():
            for number, verdict in made.items():
                attempt = delivery, number
                assert attempt in (self._lost if verdict == "unknown" else self._sent), verdict
                assert attempt in self._acknowledged or verdict != "acknowledged"
                assert attempt in self._rejected or verdict != "rejected"

    def teardown(self) -> None:
        """Everything that can end does."""
        if not hasattr(self, "_webhooks"):
            return
        for webhook in self._webhooks:
            if self._row("webhooks", webhook.id).deleted_at is None:
                change_webhook(self._database, self._settings, webhook, "enable")
        for _ in range(ROUNDS):
            for loop in self._loops:
                if not loop.loop._unsent:
                    loop.loop._claim()
                self._send(loop)
                while loop.transport.requests:
                    self._answer(loop, 0, "acknowledged")
                loop.write()
            self._pass_time(timedelta(minutes=15))
            sweep_once(self._settings)
            upkeep_once(self._settings)
            if all(row.state in CLOSED for row in self._rows()):
                break
        assert {row.state for row in self._rows()} <= CLOSED
        self.what_is_recorded_has_happened()
        self.each_row_says_one_thing()

    # ---- how

    def _send(self, loop: SteppedLoop) -> None:
        recorded, claimed = self._attempts(), self._claimed()
        for delivery, number in loop.send():
            assert (delivery, number) in claimed, "sent after its claim had ended"
            assert (delivery, number) not in self._sent, "an attempt was sent twice"
            self._sent.add((delivery, number))
            made = {
                n: verdict for n, verdict in recorded.get(delivery, {}).items() if n > self._opened.get(delivery, 0)
            }
            assert "acknowledged" not in made.values(), "sent after an acknowledgement was recorded"

    def _answer(self, loop: SteppedLoop, place: int, answer: str) -> None:
        attempts = loop.answer(place, ANSWERS[answer])
        if answer == "not sent":
            self._sent.difference_update(attempts)
        elif answer == "acknowledged":
            self._acknowledged.update(attempts)
        elif answer == "rejected":
            self._rejected.update(attempts)
            self._rejected_alone.update(attempts if len(attempts) == 1 else ())

    def _claimed(self) -> set[Attempt]:
        return {(str(row.id), row.attempt_count) for row in self._rows() if row.state == State.CLAIMED}

    def _pass_time(self, span: timedelta) -> None:
        self._lost |= self._claimed()
        with self._database.begin() as connection:
            for table in MOVED:
                columns = connection.scalars(
                    text(
                        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'dispatcher'"
                        " AND table_name = :table AND data_type = 'timestamp with time zone'"
                    ),
                    {"table": table},
                ).all()
                moved = ", ".join(f"{column} = {column} - :span" for column in columns)
                connection.execute(text(f"UPDATE dispatcher.{table} SET {moved}"), {"span": span})
        for loop in self._loops:
            loop.pass_time(span.total_seconds())

    def _rows(self) -> list[Any]:
        return rows(self._database, "SELECT *, due_at <= now() AS is_due FROM dispatcher.deliveries ORDER BY id")

    def _row(self, table: str, identifier: UUID) -> Any:
        return rows(self._database, f"SELECT * FROM dispatcher.{table} WHERE id = :id", id=identifier)[0]

    def _attempts(self) -> dict[str, dict[int, str]]:
        """delivery -> number -> verdict, `unknown` if the outcome is."""
        found: dict[str, dict[int, str]] = {}
        for row in rows(
            self._database, "SELECT delivery_id, number, verdict, outcome_unknown FROM dispatcher.attempts"
        ):
            made = found.setdefault(str(row.delivery_id), {})
            assert row.number not in made, "an attempt is on record twice"
            made[row.number] = "unknown" if row.outcome_unknown else row.verdict
        return found

    def _chosen(self, place: int) -> tuple[str, State]:
        return list(self._before.items())[place % len(self._before)]

    def _redeliver(self, delivery: str, state: State) -> None:
        webhook = self._row("webhooks", self._row("deliveries", UUID(delivery)).webhook_id)
        can_be = state in CLOSED and webhook.deleted_at is None
        assert self._does(redeliver, delivery, installation_for(self._settings).timing) == can_be, state
        if can_be:
            self._opened[delivery] = len(self._attempts().get(delivery, {}))

    def _change(self, webhook: Webhook, change: str) -> None:
        if self._row("webhooks", webhook.id).deleted_at is not None:
            return
        if change == "rename":
            change_webhook(self._database, self._settings, webhook, "update", name=f"renamed {webhook.id}")
        elif change != "delete" or len(self._before) == MOST:  # at the end: no event takes it any more
            change_webhook(self._database, self._settings, webhook, change)

    def _does(self, what: Callable[..., None], delivery: str, *values: object) -> bool:
        with Session(self._database) as session, suppress(WrongState):
            what(session, find_account(session, "acme"), UUID(delivery), *values, by=TESTER)
            session.commit()
            return True
        return False


def test_whatever_happens_in_whatever_order_each_delivery_keeps_the_rules(
    database: Engine, settings: Settings, empty: Callable[[], None]
) -> None:
    class Test(Deliveries):
        def __init__(self) -> None:
            super().__init__(database, settings, empty)

    run_state_machine_as_test(
        Test,
        settings=hypothesis.settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=EXAMPLES < 100,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],  # for the same reason nothing is made smaller
        ),
    )
