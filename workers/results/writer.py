"""Results on their way into the database: gathered, written in groups, then passed to the log and the wakes."""

from collections import Counter
from collections.abc import Iterator
from time import monotonic

from sqlalchemy import Connection, Engine

from dispatcher.producer import Clock
from dispatcher.transport.exchange import Exchange
from dispatcher.wake import NOTICES, Waker
from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.notices import NoticeKind
from schedules.timing import Timing
from workers.callbacks.targets import Target
from workers.claims.claims import Claim
from workers.notices.observe import Observation, fingerprint, observe
from workers.results.attempt_log import write_lines
from workers.results.circuit_breakers import AttemptSignal, release_trials, update_circuit_breakers
from workers.results.claim_result import ClaimResult
from workers.results.decide import Discard, Retry
from workers.results.delayed_wakes import send_delayed_wakes
from workers.results.record import Result, Sent, disable_webhook, record

GROUP = 400
GROUP_SECONDS = 0.02


class ClaimResults:
    """The results of one loop that are not written yet; `tally` counts the written ones."""

    def __init__(
        self, engine: Engine, waker: Waker, timing: Timing, clock: Clock, *, circuit_breaker_failures: int, owner: str
    ) -> None:
        """`circuit_breaker_failures` is the setting; `owner` is the id that owns the claims."""
        self._engine, self._waker, self._timing, self._clock = engine, waker, timing, clock
        self._circuit_breaker_failures = circuit_breaker_failures
        self._owner = owner
        self._pending: list[ClaimResult] = []
        self._paused_until = 0.0
        self.tally: Counter[str] = Counter()
        self.write_at = float("inf")  # monotonic: the latest time to write the group

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, result: ClaimResult) -> None:
        if not self._pending:
            self.write_at = max(monotonic() + GROUP_SECONDS, self._paused_until)
        self._pending.append(result)
        if len(self._pending) >= GROUP:
            self.write_at = self._paused_until

    def is_due(self, *, idle: bool) -> bool:
        """Whether the group should be written now: it is full or old enough, or nothing else is going on."""
        return bool(self._pending) and monotonic() >= (self._paused_until if idle else self.write_at)

    def pause(self, seconds: float) -> None:
        """The database is unavailable: nothing is written for `seconds`."""
        self._paused_until = monotonic() + seconds
        if self._pending:
            self.write_at = self._paused_until

    def write(self) -> list[Claim]:
        """Writes all of them in one transaction; returns their claims. Raises DBAPIError if the database is
        unavailable: nothing is lost, the results stay here and can be written again."""
        group = self._pending
        with self._engine.begin() as connection:
            mine = record(connection, [self._to_record(result) for result in group])
            written = [result for result in group if result.attempt in mine]
            mails_due = observe(connection, list(self._observations(connection, written)))
            self._update_circuit_breakers(connection, written)
        self._pending, self.write_at = [], float("inf")
        if mails_due:
            self._waker.wake(NOTICES)
        delays = [result.decision.delay for result in written if isinstance(result.decision, Retry)]
        if delays:
            send_delayed_wakes(self._waker, delays, self._clock().timestamp(), self._timing)
        self.tally.update(write_lines(group, mine))
        return [result.claim for result in group]

    def _to_record(self, result: ClaimResult) -> Result:
        claim, exchange, target = result.claim, result.exchange, result.target
        return Result(
            delivery_id=claim.delivery_id,
            number=claim.number,
            step=claim.schedule_step,
            owner=self._owner,
            decision=result.decision,
            verdict=result.judgement.verdict if result.judgement else None,
            sent=Sent(target, exchange) if target and exchange else None,
            counts=exchange is not None,
        )

    def _observations(self, connection: Connection, written: list[ClaimResult]) -> Iterator[Observation]:
        # In the same order in every process: two that disable the same webhooks must not deadlock.
        for result in sorted(written, key=lambda result: result.claim.webhook_id):
            target, exchange, judgement = result.target, result.exchange, result.judgement
            if target is None or exchange is None or judgement is None:
                continue
            what = fingerprint(exchange.outcome)
            if judgement.disable_webhook and disable_webhook(
                connection, target.id, target.version, what, exchange.request.id
            ):
                yield self._observation(NoticeKind.WEBHOOK_DISABLED, result, target, exchange, what)
            match result.decision:
                case Retry():
                    yield self._observation(NoticeKind.MESSAGE_RETRYING, result, target, exchange, what)
                case Discard():
                    yield self._observation(NoticeKind.MESSAGE_DISCARDED, result, target, exchange, what)

    def _observation(
        self, kind: NoticeKind, result: ClaimResult, target: Target, exchange: Exchange, what: str
    ) -> Observation:
        return Observation(
            webhook_id=target.id,
            kind=kind,
            fingerprint=what,
            delivery_id=result.claim.delivery_id,
            request_id=exchange.request.id,
            retry_delay=result.decision.delay if isinstance(result.decision, Retry) else None,
            has_contact=target.has_contact,
        )

    def _update_circuit_breakers(self, connection: Connection, written: list[ClaimResult]) -> None:
        if not self._circuit_breaker_failures:
            return
        signals: dict[str, AttemptSignal] = {}
        unsent_trials = []
        for result in written:
            claim, target, exchange, judgement = result.claim, result.target, result.exchange, result.judgement
            if exchange is None or judgement is None:
                if claim.trial:
                    unsent_trials.append(claim.webhook_id)
            elif target is not None and target.contract.circuit_breaker:
                before = signals.get(exchange.request.id)
                signals[exchange.request.id] = AttemptSignal(
                    claim.webhook_id,
                    target.schedule,
                    failed=judgement.verdict is Verdict.TEMPORARY,
                    trial=claim.trial or (before is not None and before.trial),
                    known=claim.failing,
                )
        update_circuit_breakers(
            connection, signals.values(), threshold=self._circuit_breaker_failures, timing=self._timing
        )
        release_trials(connection, unsent_trials)
