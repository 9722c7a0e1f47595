"""The delivery loop: claim -> render -> send -> classify -> decide -> record, and again, until nothing is due.

First attempt, retry and redelivery are this one path. Many requests are in flight at once; nobody waits for
stragglers before more is claimed; results are written in groups before anything is forgotten.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from uuid import UUID

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

from dispatcher.contracts import Verdict
from dispatcher.ids import new_id
from dispatcher.states import Reason
from dispatcher.wake import AWAKE_SECONDS
from schedules.catalog import DEFAULT, SCHEDULES
from workers.claims import CLAIM, Claim, Claimed, Claimer
from workers.classify import Judgement, classify
from workers.context import Context
from workers.decide import Again, Decision, Discard, decide
from workers.outcomes import WORDS, Outcome, Outcomes
from workers.render import RenderFailed, render
from workers.replies import Exchange
from workers.stopping import is_stopping
from workers.targets import Target
from workers.windows import Windows

log = structlog.get_logger("dispatcher.deliver")

SHORTEST_POLL, LONGEST_POLL = 0.005, 0.05  # how late new work is seen while a loop is awake, in seconds
LONGEST_LIFE = timedelta(hours=1)
DATABASE_PAUSE = 1.0


class DeliveryLoop:
    """One loop of one process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._transport = context.transport
        self._claimer = Claimer()
        self._outcomes = Outcomes(context, self._claimer.id)
        self._windows = Windows(self._transport.capacity)
        self._in_flight: dict[UUID, tuple[Claim, Target]] = {}
        self._claimed = 0
        self._clock = (datetime.now(UTC), monotonic())  # the database's time, and the monotonic time when it was read
        # Loops of one wake must not end their lives together.
        self._ends_at = monotonic() + LONGEST_LIFE.total_seconds() * random.uniform(0.75, 1)  # noqa: S311
        self._claim_at = self._mark_at = 0.0
        self._claim_at_once_below = 0
        self._poll = SHORTEST_POLL
        self._nothing_due = self._handed_over = self._woke_another = self._marked = False
        self._grace_ends: float | None = None

    def run(self) -> dict[str, int]:
        """Delivers all that is due; returns what it did, as counts. When the worker stops it claims no more, and ends
        when what is in flight has ended or the grace time is over."""
        try:
            self._deliver_all()
            if is_stopping():
                self._context.waker.asleep()  # or producers would count on a loop that has gone
        except BaseException:
            # What is still in flight would come back to the next loop, which knows nothing of it.
            self._context.drop_transport()
            raise
        return {"claimed": self._claimed, **{word: self._outcomes.tally[word] for word in WORDS}}

    def _deliver_all(self) -> None:
        while True:
            self._stay_awake()
            if self._may_claim():
                self._claim()
            for exchange in self._ended():
                self._judge(exchange)
            self._write()
            if not self._in_flight and not self._outcomes and (self._ending() or self._nothing_left()):
                break
            if self._grace_is_over():
                log.warning("grace time over", in_flight=len(self._in_flight), unwritten=len(self._outcomes))
                break

    # ---- claim, render, send

    def _may_claim(self) -> bool:
        if self._ending() or len(self._in_flight) >= self._transport.capacity:
            return False
        return monotonic() >= self._claim_at or len(self._in_flight) < self._claim_at_once_below

    def _claim(self) -> None:
        """Takes what there is room for, and sends it."""
        room = self._transport.capacity - len(self._in_flight)
        claims_end = monotonic() + CLAIM.total_seconds()
        with self._patient_with_database():
            with self._context.engine.begin() as connection:
                windows = self._windows
                claimed = self._claimer.claim(connection, windows.rooms(), room, windows.failing_room)
                versions = {claim.webhook_id: claim.webhook_version for claim in claimed.claims}
                targets = self._context.targets.load(connection, versions)
            self._pace(claimed)
            for claim in claimed.claims:
                self._clock = (claim.claimed_at, monotonic())
                self._start(claim, targets.get(claim.webhook_id), claims_end)

    def _pace(self, claimed: Claimed) -> None:
        """When to claim next: at once while more is to be had, soon after work came, ever later while none comes."""
        found = len(claimed.claims)
        self._claimed += found
        self._windows.others_due = claimed.webhooks > 1
        self._nothing_due = not found and claimed.lap_done
        self._poll = SHORTEST_POLL if found else min(self._poll * 2, LONGEST_POLL)
        self._claim_at = monotonic() + (self._poll if claimed.lap_done or claimed.full else 0)
        self._claim_at_once_below = (len(self._in_flight) + found) // 2 if found else 0
        if claimed.full and not self._woke_another:
            self._woke_another = self._context.waker.wake_another()

    def _start(self, claim: Claim, target: Target | None, claim_ends: float) -> None:
        if target is None:
            # Deleted this moment, or a secret that no key opens: it waits, and is looked at again.
            self._outcomes.add(Outcome(claim, self._decide(claim, DEFAULT.name, Judgement(Verdict.TEMPORARY))))
            return
        if claim.expires_at is not None and claim.expires_at <= claim.claimed_at:
            self._outcomes.add(Outcome(claim, Discard(Reason.EXPIRED), target))
            return
        try:
            request = render(claim, target, new_id(), scale=self._context.settings.time_scale)
            if monotonic() + request.timeout > claim_ends:
                # This process stood still since its claim: somebody else may make the attempt before this one ends.
                self._outcomes.add(Outcome(claim, Again(0), target))
                return
            self._transport.send(request)
        except (RenderFailed, ValueError) as error:
            log.warning("no callback can be made", delivery=str(claim.delivery_id), why=str(error))
            self._outcomes.add(Outcome(claim, Discard(Reason.RENDER_FAILED), target))
            return
        self._in_flight[request.id] = (claim, target)
        self._windows.sent(claim.webhook_id)

    # ---- classify, decide

    def _ended(self) -> list[Exchange]:
        """What has ended; waits no longer than until the next claim or the next write is due."""
        next_step = min(self._claim_at, self._outcomes.write_at, self._mark_at)
        seconds = min(max(next_step - monotonic(), 0.001), LONGEST_POLL)
        if self._in_flight:
            return self._transport.wait(seconds)
        if self._outcomes and not self._outcomes.is_due(idle=True):
            sleep(seconds)  # for the database to come back
        return []

    def _judge(self, exchange: Exchange) -> None:
        claim, target = self._in_flight.pop(exchange.request.id)
        judgement = classify(exchange.outcome, target.contract.rules, now=self._now())
        failed = judgement.verdict is Verdict.TEMPORARY
        self._windows.ended(claim.webhook_id, failed=failed, duration=exchange.duration)
        decision = self._decide(claim, target.contract.schedule, judgement)
        self._outcomes.add(Outcome(claim, decision, target, exchange, judgement))

    def _now(self) -> datetime:
        """The database's time, without asking it."""
        database_time, read_at = self._clock
        return database_time + timedelta(seconds=monotonic() - read_at)

    def _decide(self, claim: Claim, schedule: str, judgement: Judgement) -> Decision:
        return decide(
            judgement,
            SCHEDULES[schedule],
            step=claim.schedule_step,
            expires_at=claim.expires_at,
            now=self._now(),
            scale=self._context.settings.time_scale,
        )

    # ---- record

    def _write(self) -> None:
        if self._outcomes.is_due(idle=not self._in_flight):
            with self._patient_with_database():
                self._outcomes.write()

    # ---- wake, and end

    def _stay_awake(self) -> None:
        """Renews the mark that keeps producers from waking others; drops it while this loop has no room, so that the
        next event wakes one that has."""
        has_room = len(self._in_flight) < self._transport.capacity
        if self._ending() or (monotonic() < self._mark_at and has_room == self._marked):
            return
        self._mark_at = monotonic() + AWAKE_SECONDS / 3
        if has_room:
            self._context.waker.awake()
        elif self._marked:
            self._context.waker.asleep()
        self._marked = has_room

    def _nothing_left(self) -> bool:
        """Whether the loop may end: first its mark goes, then it looks once more. Who commits before that look is
        seen by it; who commits after it finds no mark, and wakes."""
        if not self._nothing_due:
            return False
        self._context.waker.asleep()
        self._mark_at = 0.0
        self._claimer.start_lap()
        self._nothing_due = False
        while not self._nothing_due and not self._in_flight and not self._outcomes:
            self._claim()
        return self._nothing_due and not self._in_flight and not self._outcomes

    def _ending(self) -> bool:
        """Whether it claims no more: the worker stops, or it is old and has handed a wake over."""
        if not is_stopping() and monotonic() >= self._ends_at and not self._handed_over:
            self._context.waker.asleep()
            self._handed_over = self._context.waker.wake_another()
        return is_stopping() or self._handed_over

    def _grace_is_over(self) -> bool:
        if self._grace_ends is None and is_stopping():
            self._grace_ends = monotonic() + self._context.settings.grace_seconds
        return self._grace_ends is not None and monotonic() >= self._grace_ends

    @contextmanager
    def _patient_with_database(self) -> Iterator[None]:
        """A database that is away stops claims and writes for a moment; what is in flight goes on, results stay."""
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            log.warning("the database does not answer", error=type(error.orig).__name__)
            self._nothing_due = True
            self._claim_at = monotonic() + DATABASE_PAUSE
            self._outcomes.pause(DATABASE_PAUSE)
