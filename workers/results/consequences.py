"""What results mean for their webhooks: response rules that disable them, notices, circuit breakers.

They are written in the transaction of the results, but wait for nobody: what concerns a row that somebody has locked is
left for later, and the results are recorded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from dispatcher.transport.exchange import Exchange
from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.notices import NoticeKind
from schedules.timing import Timing
from workers.callbacks.targets import Target
from workers.notices.observe import Observation, fingerprint, observe
from workers.results.circuit_breakers import AttemptSignal, release_trials, update_circuit_breakers
from workers.results.claim_result import ClaimResult
from workers.results.decide import Discard, Retry
from workers.results.record import disable_webhook


@dataclass(frozen=True, slots=True)
class Consequences:
    """Of recorded results, in their order. `disabled`: by webhook and version, what is observed if a response rule
    disables it."""

    disabled: Mapping[tuple[str, int], Observation] = field(default_factory=dict)
    observations: Sequence[Observation] = ()
    signals: Sequence[AttemptSignal] = ()
    unsent_trials: Sequence[str] = ()  # webhooks

    def __bool__(self) -> bool:
        return bool(self.disabled or self.observations or self.signals or self.unsent_trials)

    def __add__(self, later: "Consequences") -> "Consequences":
        return Consequences(
            {**later.disabled, **self.disabled},
            [*self.observations, *later.observations],
            [*self.signals, *later.signals],
            [*self.unsent_trials, *later.unsent_trials],
        )

    def split(self) -> list[tuple[str, "Consequences"]]:
        """One by one, each with its webhook; of one webhook's signals all together, because their order matters."""
        signals: dict[str, list[AttemptSignal]] = {}
        for signal in self.signals:
            signals.setdefault(signal.webhook_id, []).append(signal)
        return [
            *((version[0], Consequences(disabled={version: one})) for version, one in self.disabled.items()),
            *((one.webhook_id, Consequences(observations=[one])) for one in self.observations),
            *((webhook_id, Consequences(signals=of_one)) for webhook_id, of_one in signals.items()),
            *((webhook_id, Consequences(unsent_trials=[webhook_id])) for webhook_id in self.unsent_trials),
        ]


def consequences_of(written: Iterable[ClaimResult], *, circuit_breakers: bool) -> Consequences:
    """The consequences of results that were recorded."""
    disabled: dict[tuple[str, int], Observation] = {}
    observations: list[Observation] = []
    signals: dict[str, AttemptSignal] = {}
    unsent_trials = []
    for result in written:
        claim, target, exchange, judgement = result.claim, result.target, result.exchange, result.judgement
        if exchange is None or judgement is None:
            if claim.trial:
                unsent_trials.append(claim.webhook_id)
            continue
        if target is None:
            continue
        if judgement.disable_webhook:
            observation = _observation(NoticeKind.WEBHOOK_DISABLED, result, target, exchange)
            disabled.setdefault((target.id, target.version), observation)
        match result.decision:
            case Retry():
                observations.append(_observation(NoticeKind.MESSAGE_RETRYING, result, target, exchange))
            case Discard():
                observations.append(_observation(NoticeKind.MESSAGE_DISCARDED, result, target, exchange))
        if target.contract.circuit_breaker:
            before = signals.get(exchange.request.id)
            signals[exchange.request.id] = AttemptSignal(
                claim.webhook_id,
                target.schedule,
                failed=judgement.verdict is Verdict.TEMPORARY,
                trial=claim.trial or (before is not None and before.trial),
                known=claim.failing,
            )
    if not circuit_breakers:
        return Consequences(disabled, observations)
    return Consequences(disabled, observations, list(signals.values()), unsent_trials)


def write_consequences(
    connection: Connection, consequences: Consequences, *, threshold: int, timing: Timing
) -> tuple[int, Consequences]:
    """Writes them in the caller's transaction. Returns how many mails became due, and what was not written because
    somebody has locked the row."""
    observations, locked = list(consequences.observations), {}
    for (webhook_id, version), one in consequences.disabled.items():
        assert one.request_id is not None
        match disable_webhook(connection, webhook_id, version, one.fingerprint, one.request_id):
            case True:
                observations.append(one)
            case None:
                locked[webhook_id, version] = one
    observed = observe(connection, observations)
    signals = update_circuit_breakers(connection, consequences.signals, threshold=threshold, timing=timing)
    unsent_trials = release_trials(connection, consequences.unsent_trials)
    return observed.mails_due, Consequences(locked, observed.locked, signals, unsent_trials)


def _observation(kind: NoticeKind, result: ClaimResult, target: Target, exchange: Exchange) -> Observation:
    return Observation(
        webhook_id=target.id,
        kind=kind,
        fingerprint=fingerprint(exchange.outcome),
        delivery_id=result.claim.delivery_id,
        request_id=exchange.request.id,
        retry_delay=result.decision.delay if isinstance(result.decision, Retry) else None,
        has_contact=target.has_contact,
    )
