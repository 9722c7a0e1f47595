"""Results on their way into the database: gathered, written in groups, then passed to the log and the wakes.

One that cannot be written must not keep the others: what somebody has locked is tried again until it is free, and a
group that fails is halved until the one that causes it is alone.
"""

from collections import Counter
from collections.abc import Sequence, Set
from contextlib import suppress
from math import inf
from time import monotonic
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from dispatcher.db.clock import DatabaseClock
from dispatcher.db.commits import Fate, fate
from dispatcher.db.outage_log import OutageLog
from dispatcher.db.outages import is_held_up, is_outage, lacks_partition
from dispatcher.db.partition_rounds import create_partitions
from dispatcher.wake import NOTICES, Waker
from schedules.timing import Timing
from workers.claims.claims import Attempt, Claim
from workers.metrics.counts import Counts
from workers.results.attempt_log import write_lines
from workers.results.claim_result import ClaimResult
from workers.results.consequences import Consequences, consequences_of, write_consequences
from workers.results.counting import count_results
from workers.results.decide import Release, Retry
from workers.results.delayed_wakes import send_delayed_wakes
from workers.results.record import Recorded, Result, Sent, record

log = structlog.get_logger("dispatcher.results")

GROUP = 400
GROUP_SECONDS = 0.02
AGAIN = 0.25  # seconds until what somebody has locked, or what became of a COMMIT, is looked at again
LONGEST_WAIT = 600.0  # seconds for somebody's lock: a loop that waits for one cannot end
_NONE = Consequences()


class _Commit(NamedTuple):
    """A transaction that was written, and whose COMMIT was not answered yet."""

    results: Sequence[ClaimResult]
    recorded: Recorded
    mails_due: int
    left: Consequences  # with what was left before, because somebody had locked it


class Written(NamedTuple):
    """Claims whose messages are not needed any more, and claims whose results are in the database."""

    freed: Sequence[Claim]
    recorded: Sequence[Claim]


class ClaimResults:
    """The results of one loop that are not written yet; `tally` counts the written ones."""

    def __init__(  # noqa: PLR0917 - what its loop has
        self,
        engine: Engine,
        waker: Waker,
        timing: Timing,
        clock: DatabaseClock,
        circuit_breaker_failures: int,
        outages: OutageLog,
        *,
        owner: str,
        counts: Counts,
    ) -> None:
        """`circuit_breaker_failures` is the setting; `owner` is the id that owns the claims."""
        self._engine, self._waker, self._timing, self._clock = engine, waker, timing, clock
        self._outages = outages
        self._circuit_breaker_failures = circuit_breaker_failures
        self._owner, self._counts = owner, counts
        self._pending: list[ClaimResult] = []
        self._locked: list[ClaimResult] = []  # without their messages
        self._left = _NONE  # of results that are written
        self._commit: _Commit | None = None
        self._unanswered: dict[str, Sequence[Claim]] = {}  # by transaction: claims whose COMMIT was not answered
        self._was_unanswered = False  # there have been some
        self._freed: list[Claim] = []
        self._recorded: list[Claim] = []
        # Monotonic: when to write the group, when to try the rest again, since when there is some, no write before.
        self._group_at = self._again_at = self._waits_since = inf
        self._paused_until = 0.0
        self.tally: Counter[str] = Counter()

    def __len__(self) -> int:
        claims = sum(len(claims) for claims in self._unanswered.values())
        return len(self._pending) + len(self._locked) + claims + bool(self._left)

    @property
    def write_at(self) -> float:
        """Monotonic: the latest time to write."""
        return max(min(self._group_at, self._again_at), self._paused_until)

    def add(self, result: ClaimResult) -> None:
        if not self._pending:
            self._group_at = monotonic() + GROUP_SECONDS
        self._pending.append(result)
        if len(self._pending) >= GROUP:
            self._group_at = 0.0

    def is_due(self, *, idle: bool) -> bool:
        """Whether something should be written now: the group is full or old enough, or nothing else is going on."""
        now = monotonic()
        if now < self._paused_until:
            return False
        return now >= min(self._group_at, self._again_at) or (idle and bool(self._pending))

    def pause(self, seconds: float) -> None:
        """The database is unavailable: nothing is written for `seconds`."""
        self._paused_until = monotonic() + seconds

    def commit_claims(self, connection: Connection, claims: Sequence[Claim]) -> None:
        """Commits a transaction that has claimed. Raises DBAPIError if that fails. If the answer was lost, nothing else
        knows of the claims: they are released as soon as it is known that they were made."""
        try:
            connection.commit()
        except DBAPIError as error:
            if claims and is_outage(error):
                self._unanswered[claims[0].transaction] = claims
                self._again_at, self._was_unanswered = 0.0, True
            raise
        if self._was_unanswered:
            self._forget({claim.attempt for claim in claims})

    def not_being_made(self, claims: Sequence[Claim], held: Set[Attempt]) -> Sequence[Claim]:
        """Without the claims of attempts that the loop is making already: `held` are those it knows. A database that
        crashed or failed over has forgotten their claims, and given them out again. What comes of them is recorded for
        the new claims; but what was only to be released is made now."""
        again = held & {claim.attempt for claim in claims}
        if again:
            again -= self._forget(again)
        return [claim for claim in claims if claim.attempt not in again] if again else claims

    def _forget(self, claimed: Set[Attempt]) -> Set[Attempt]:
        """What is claimed now was not before, whatever the server says of that transaction: after a crash it may have
        forgotten it, or give its number to another. A release would be one of the new claim. Returns those that were
        to be written."""
        self._unanswered = {
            transaction: [claim for claim in claims if claim.attempt not in claimed]
            for transaction, claims in self._unanswered.items()
        }
        releases = {result.attempt for result in self._pending if isinstance(result.decision, Release)} & claimed
        self._pending = [
            result
            for result in self._pending
            if not (isinstance(result.decision, Release) and result.attempt in releases)
        ]
        return releases

    def written(self) -> Written:
        """Since the last call, also by a `write` that failed in the end."""
        written = Written(self._freed, self._recorded)
        self._freed, self._recorded = [], []
        return written

    def write(self) -> None:
        """Writes all of them in one transaction, if it can. Raises DBAPIError if the database is unavailable: then
        nothing is lost, the results stay here and can be written again."""
        if self._commit is not None and not self._is_answered(self._commit):
            self.pause(AGAIN)
            return
        self._release_unanswered()
        again = monotonic() >= self._again_at
        if again:
            self._pending, self._locked = [*self._locked, *self._pending], []
        if self._try(self._pending, self._left if again or not self._left else None) is not None:
            self._write_apart(self._pending)
            self._write_left()
        self._plan()

    def _plan(self) -> None:
        """Sets when something is written next."""
        now = monotonic()
        if not self._pending:
            self._group_at = inf
        if not (self._locked or self._left or self._unanswered):
            self._again_at = self._waits_since = inf
        elif self._again_at <= now or self._again_at == inf:
            self._again_at, self._waits_since = now + AGAIN, min(self._waits_since, now)
            if now >= self._waits_since + LONGEST_WAIT:
                self._stop_waiting()

    def _release_unanswered(self) -> None:
        """Releases what was claimed in transactions whose COMMIT was not answered."""
        for transaction, claims in list(self._unanswered.items()):
            became = fate(self._engine, transaction)
            if became is Fate.OPEN:
                continue
            del self._unanswered[transaction]
            if became is not Fate.ABORTED:
                self._pending += [_without_message(ClaimResult(claim, Release())) for claim in claims]

    def _stop_waiting(self) -> None:
        for result in self._locked:
            _tell("result given up", result, "locked")
        for webhook_id, _ in self._left.split():
            log.error("consequence of a result given up", webhook=webhook_id, error="locked")
        self._locked, self._left = [], _NONE

    # ---- one transaction

    def _try(
        self,
        results: Sequence[ClaimResult],
        left: Consequences | None,
        *,
        others: Consequences = _NONE,
        stripped: bool = False,
    ) -> Exception | None:
        """Writes results with their consequences, and what was left from before; not yet the `others`. If `left` is
        None, it writes no consequences yet. Stripped results are written without their request, and have none. Returns
        why nothing was written. Raises DBAPIError if the database is unavailable."""
        began = monotonic()
        try:
            self._transact(results, left, others, stripped=stripped)
        except Exception as error:
            if lacks_partition(error):
                with suppress(SQLAlchemyError):
                    create_partitions(self._engine, self._clock())
            if is_outage(error):
                raise
            return error
        assert self._commit is not None
        self._committed(self._commit)
        if results:
            self._counts.results(len(results), monotonic() - began)
        return None

    def _transact(
        self, results: Sequence[ClaimResult], left: Consequences | None, others: Consequences, *, stripped: bool
    ) -> None:
        with self._engine.connect() as connection:
            recorded = record(connection, [self._to_record(result, stripped=stripped) for result in results])
            written = [result for result in results if result.attempt in recorded.mine and not stripped]
            follows = consequences_of(written, circuit_breakers=self._circuit_breaker_failures > 0)
            mails_due = 0
            if left is None:
                others = self._left + follows
            else:
                mails_due, locked = write_consequences(
                    connection,
                    left + follows if left else follows,
                    threshold=self._circuit_breaker_failures,
                    timing=self._timing,
                )
                others = others + locked if others else locked
            self._commit = _Commit(tuple(results), recorded, mails_due, others)  # while it waits, others are added
            try:
                connection.commit()
            except Exception as error:
                if not is_outage(error):
                    self._commit = None
                raise

    def _is_answered(self, commit: _Commit) -> bool:
        """Finds out about a COMMIT whose answer was lost. What it did not write is written again."""
        match fate(self._engine, commit.recorded.transaction):
            case Fate.OPEN:
                return False
            case Fate.COMMITTED:
                self._committed(commit)
            case Fate.ABORTED | Fate.UNKNOWN:
                self._commit = None
        return True

    def _committed(self, commit: _Commit) -> None:
        mine, locked = commit.recorded.mine, commit.recorded.locked
        done = {id(result) for result in commit.results}
        self._commit = None
        self._pending = [result for result in self._pending if id(result) not in done]
        self._freed += [result.claim for result in commit.results]
        ended = commit.results
        if locked:
            self._locked += [_without_message(result) for result in ended if result.attempt in locked]
            ended = [result for result in ended if result.attempt not in locked]
        self._recorded += [result.claim for result in ended]
        self._left = commit.left
        if commit.mails_due:
            self._waker.wake(NOTICES)
        delays = [
            result.decision.delay for result in ended if isinstance(result.decision, Retry) and result.attempt in mine
        ]
        if delays:
            send_delayed_wakes(self._waker, delays, self._clock.timestamp(), self._timing)
        self.tally.update(write_lines(ended, mine))
        count_results(self._counts, ended, mine, self._clock.offset)

    def _to_record(self, result: ClaimResult, *, stripped: bool) -> Result:
        claim, exchange, target = result.claim, result.exchange, result.target
        if exchange is not None and self._clock.offset:
            exchange = exchange._replace(started_at=exchange.started_at + self._clock.offset)
        return Result(
            delivery_id=claim.delivery_id,
            number=claim.number,
            step=claim.schedule_step,
            owner=self._owner,
            decision=result.decision,
            verdict=result.judgement.verdict if result.judgement else None,
            sent=(
                Sent(target, exchange, result.messages, result.refused)
                if target and exchange and not stripped
                else None
            ),
            counts=exchange is not None,
        )

    # ---- what cannot be written with the others

    def _write_apart(self, results: Sequence[ClaimResult]) -> None:
        """Writes results without their consequences; if that fails, each half of them by itself."""
        error = self._try(results, None)
        if error is None:
            return
        if is_held_up(error):
            self._outages.failed(error)
            self.pause(AGAIN)
        elif len(results) > 1:
            middle = len(results) // 2
            self._write_apart(results[:middle])
            self._write_apart(results[middle:])
        elif results:
            self._write_stripped(results[0], error)

    def _write_stripped(self, result: ClaimResult, error: Exception) -> None:
        """Writes at least how a delivery ended."""
        again = self._try([result], None, stripped=True)
        if again is None:
            _tell("result recorded without its request", result, _kind(error))
        elif is_held_up(again):
            self.pause(AGAIN)
        else:
            self._pending = [other for other in self._pending if other is not result]
            self._freed.append(result.claim)
            _tell("result given up", result, _kind(again))

    def _write_left(self) -> None:
        """Writes the consequences that were left. If they cannot be written together, each by itself."""
        if not self._left:
            return
        error = self._try([], self._left)
        if error is None or is_held_up(error):
            return
        for _ in self._left.split():
            (webhook_id, one), *rest = self._left.split()
            others = sum([other for _, other in rest], _NONE)
            error = self._try([], one, others=others)
            if error is not None and is_held_up(error):
                self._left = others + one
            elif error is not None:
                self._left = others
                log.error("consequence of a result given up", webhook=webhook_id, error=_kind(error))


def _without_message(result: ClaimResult) -> ClaimResult:
    exchange = result.exchange
    return result._replace(
        claim=result.claim._replace(data=b""),
        exchange=exchange and exchange._replace(request=exchange.request._replace(body=None)),
    )


def _tell(event: str, result: ClaimResult, why: str) -> None:
    log.error(event, attempt=result.claim.number, error=why, **result.claim.ids)


def _kind(error: Exception) -> str:
    """The kind of an error: its text could contain values."""
    return type(error.orig if isinstance(error, DBAPIError) else error).__name__
