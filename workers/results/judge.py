"""What becomes of each delivery of one loop, by the database's clock. An error of our own while judging one delivery
ends neither the loop nor the delivery: it is retried by its schedule."""

from datetime import datetime, timedelta
from time import monotonic

import structlog

from dispatcher.transport.exchange import Exchange
from dispatcher.webhooks.contract import Verdict
from schedules.retry import RetrySchedule
from schedules.timing import Timing
from workers.callbacks.targets import Target
from workers.claims.claims import Claim
from workers.metrics.counts import Counts
from workers.results.classify import Judgement, NotAttempted, classify
from workers.results.decide import Decision, decide, decide_after_error

log = structlog.get_logger("dispatcher.deliver")


class Judge:
    """Judges answers, which it counts, and decides."""

    def __init__(self, timing: Timing, now: datetime, counts: Counts) -> None:
        self._timing, self._counts = timing, counts
        self.set_clock(now)

    def set_clock(self, now: datetime) -> None:
        """The database's time, which is known from a claim now and then."""
        self._clock = now, monotonic()

    def now(self) -> datetime:
        """The database's time, without a query."""
        database_time, read_at = self._clock
        return database_time + timedelta(seconds=monotonic() - read_at)

    def judge(self, exchange: Exchange, target: Target) -> Judgement | NotAttempted:
        """What the outcome of a request means."""
        self._counts.request(exchange)
        try:
            return classify(exchange.outcome, target.contract.rules, now=self.now())
        except Exception as error:  # noqa: BLE001 - one answer must not end the loop again and again
            log.error(
                "answer cannot be judged", request=exchange.request.id, webhook=target.id, error=type(error).__name__
            )
            return Judgement(Verdict.TEMPORARY)

    def decide(
        self, claim: Claim, target: Target | None, judgement: Judgement | NotAttempted, *, batch: int = 1
    ) -> Decision:
        """What happens to one delivery of a request with `batch` of them. Without a target nothing was sent."""
        try:
            return decide(
                judgement,
                self._schedule(target),
                step=claim.schedule_step,
                expires_at=claim.expires_at,
                now=self.now(),
                batch=batch,
                retry_alone=target is not None and target.contract.retry_alone,
            )
        except Exception as error:  # noqa: BLE001 - one delivery must not end the loop again and again
            return self.decide_after(error, claim, target)

    def decide_after(self, error: Exception, claim: Claim, target: Target | None) -> Decision:
        """What happens to a delivery that an error of our own keeps from being handled."""
        log.error("delivery cannot be handled", error=type(error).__name__, **claim.ids)
        return decide_after_error(self._schedule(target), step=claim.schedule_step)

    def _schedule(self, target: Target | None) -> RetrySchedule:
        return target.schedule if target is not None else self._timing.schedule("default")
