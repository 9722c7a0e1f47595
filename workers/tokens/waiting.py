"""The tokens of one loop: the requests that wait for one, the requests that fetch them, and how receivers take them.

The loop must not stall for a token. So a request that needs one waits here and keeps its in-flight slot, while the
token request goes through the same transport as all others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic
from typing import NamedTuple, TypeAlias, assert_never

import structlog
from sqlalchemy import Connection, Engine

from dispatcher.db.clock import DatabaseClock
from dispatcher.receiver_auth.credentials import ClientCredentials
from dispatcher.receiver_auth.token_request import FETCH_SECONDS, Issued, read_answer, token_request
from dispatcher.transport.exchange import CONNECT_SECONDS, Exchange, Failure, FailureKind, Request
from dispatcher.transport.port import Transport
from schedules.timing import Timing
from workers.callbacks.targets import Target
from workers.metrics.counts import Counts
from workers.tokens.store import FAILURE_PAUSE, Missing, Token, TokenStore, Wanted

log = structlog.get_logger("dispatcher.tokens")

LOOK_EVERY = 0.1  # seconds until a token that another worker has fetched is seen

# What a request that waited gets: the token, the failure that it ends with, or nothing: then it is released.
TokenResult: TypeAlias = Token | Exchange | None


class _Waiting(NamedTuple):
    request: Request  # as it would be sent without a token
    began_at: datetime
    since: float  # monotonic


@dataclass(slots=True)
class _Need:
    """The requests that wait for one token; `until` is when the first of them must stop waiting. `look_at` is when the
    token is looked for, never while this loop fetches it. Times are monotonic."""

    webhook_id: str
    credentials: ClientCredentials
    waiting: list[_Waiting] = field(default_factory=list)
    until: float = inf
    look_at: float = 0.0


class Tokens:
    """Called by one thread only, the loop's."""

    def __init__(
        self,
        engine: Engine,
        store: TokenStore,
        transport: Transport,
        timing: Timing,
        *,
        clock: DatabaseClock,
        handle: Callable[[Sequence[str]], None],
        counts: Counts,
    ) -> None:
        """`handle` is told for which requests, by their ids, a token is being fetched or read just now."""
        self._engine = engine
        self._store = store
        self._transport = transport
        self._timing = timing
        self._clock = clock
        self._handle, self._counts = handle, counts
        self._needs: dict[tuple[str, ClientCredentials], _Need] = {}
        self._fetches: dict[str, tuple[Wanted, _Need]] = {}  # our token requests in flight, by their ids
        self._answers: list[Exchange] = []  # to them, not processed yet
        self._paused_until = 0.0

    @property
    def fetching(self) -> int:
        """How many token requests are in flight or not processed. Each has a request that waits for it, and so a slot,
        unless the loop is stopping."""
        return len(self._fetches)

    @property
    def due_at(self) -> float:
        """When `settle` has something to do, monotonic."""
        if not self._needs and not self._answers:
            return inf
        first = 0.0 if self._answers else min([need.look_at for need in self._needs.values()])
        return max(first, self._paused_until)

    def cached(self, target: Target) -> Token | None:
        """The token for this webhook, if it uses tokens and this process has one."""
        credentials = target.client_credentials
        return None if credentials is None else self._store.cached(target.id, credentials)

    def await_one(self, webhook_id: str, credentials: ClientCredentials, request: Request, until: float) -> None:
        """Lets a request wait for a token; `settle` returns the result. It cannot be sent after `until` (monotonic), so
        no token request is started that could end later."""
        need = self._needs.setdefault((webhook_id, credentials), _Need(webhook_id, credentials))
        need.until = min(need.until, until - self._timing.timeout(CONNECT_SECONDS + FETCH_SECONDS))
        need.waiting.append(_Waiting(request, datetime.now(UTC), monotonic()))

    def take_answers(self, ended: list[Exchange]) -> list[Exchange]:
        """The exchanges that have ended, without the answers of token servers: `settle` processes those."""
        if not self._fetches:
            return ended
        self._answers += [exchange for exchange in ended if exchange.request.id in self._fetches]
        return [exchange for exchange in ended if exchange.request.id not in self._fetches]

    def settle(self, *, stopping: bool) -> list[tuple[str, TokenResult]]:
        """Processes the answers of token servers, looks for missing tokens, and starts to fetch those that nobody else
        fetches. Returns the requests, by id, that wait no longer. Raises DBAPIError if the database is unavailable:
        nothing has changed then. When the worker stops, every request that waits is released and no fetch is
        started."""
        done = self._release(stopping=stopping)
        if done or monotonic() < self.due_at:
            return done
        answers = list(self._answers)
        reads = [self._read(answer) for answer in answers]
        wanted = [Wanted(need.webhook_id, need.credentials, self._clock.new_id_text()) for need in self._to_look_for()]
        with self._engine.begin() as connection:
            came = [self._put(connection, answer, read) for answer, read in zip(answers, reads, strict=True)]
            found = self._store.look(connection, wanted) if wanted else {}
        self._answers = []
        for answer, fetched in zip(answers, came, strict=True):
            done += self._end_fetch(answer, fetched)
        for one in wanted:
            done += self._apply(one, found[one.webhook_id])
        return done

    def refuse(self, target: Target, token: Token) -> bool:
        """Handles a refused token. Returns whether another is worth a try; if so, this one is dropped. Raises
        DBAPIError if the database is unavailable."""
        with self._engine.begin() as connection:
            other = self._store.refuse(connection, target.id, token)
        if other:
            log.info("token refused", webhook=target.id)
        return other

    def accept(self, target: Target, token: Token) -> None:
        """Handles a token that the receiver did not refuse. Raises DBAPIError if the database is unavailable."""
        if token.after_refusal:
            with self._engine.begin() as connection:
                self._store.accept(connection, target.id, token)

    def pause(self, seconds: float) -> None:
        """The database is unavailable: it is not used for `seconds`."""
        self._paused_until = monotonic() + seconds

    def _release(self, *, stopping: bool) -> list[tuple[str, TokenResult]]:
        """Releases requests that must not wait any longer. A token that this loop fetches is waited for, because that
        takes a bounded time."""
        now = monotonic()
        done: list[tuple[str, TokenResult]] = []
        for need in list(self._needs.values()):
            if stopping or (need.until < now and need.look_at < inf):
                done += [(one.request.id, None) for one in need.waiting]
                need.waiting.clear()
                self._forget(need)
        return done

    def _to_look_for(self) -> list[_Need]:
        """One for each webhook: its credentials can have changed while requests still wait for a token of the old
        ones."""
        now = monotonic()
        return list({need.webhook_id: need for need in self._needs.values() if need.look_at <= now}.values())

    def _read(self, answer: Exchange) -> Issued | Failure:
        _, need = self._fetches[answer.request.id]
        self._handle_all_of(need)
        try:
            return read_answer(answer.outcome)
        except Exception as error:  # noqa: BLE001 - no answer may keep the loop from all others
            return _failure(FailureKind.TOKEN, error)

    def _put(self, connection: Connection, answer: Exchange, read: Issued | Failure) -> Token | Failure:
        wanted, _ = self._fetches[answer.request.id]
        if isinstance(read, Issued):
            return self._store.put(connection, wanted, read)
        self._store.fetch_failed(connection, wanted, pause=self._timing.timeout(FAILURE_PAUSE))
        return read

    def _end_fetch(self, answer: Exchange, fetched: Token | Failure) -> list[tuple[str, TokenResult]]:
        wanted, need = self._fetches.pop(answer.request.id)
        self._forget(need)
        self._counts.token_fetch(failed=isinstance(fetched, Failure))
        ms = round(answer.duration.total_seconds() * 1000, 1)
        match fetched:
            case Token():
                log.info("token fetched", webhook=wanted.webhook_id, ms=ms)
                return [(one.request.id, fetched) for one in need.waiting]
            case Failure(detail=detail):
                log.warning("no token", webhook=wanted.webhook_id, why=detail, ms=ms)
                return [(one.request.id, _failed(one, fetched)) for one in need.waiting]
            case _:
                assert_never(fetched)

    def _apply(self, wanted: Wanted, found: Token | Missing) -> list[tuple[str, TokenResult]]:
        need = self._needs[wanted.webhook_id, wanted.credentials]
        match found:
            case Token():
                self._forget(need)
                return [(one.request.id, found) for one in need.waiting]
            case Missing.LATER:
                need.look_at = monotonic() + LOOK_EVERY
            case Missing.FETCH:
                need.look_at = inf
                self._fetch(wanted, need)
            case Missing.DELETED:
                self._forget(need)
                return [(one.request.id, None) for one in need.waiting]
            case _:
                assert_never(found)
        return []

    def _fetch(self, wanted: Wanted, need: _Need) -> None:
        self._fetches[wanted.fetch_id] = wanted, need
        self._handle_all_of(need)
        callback = need.waiting[0].request
        try:
            request = token_request(wanted.credentials, wanted.fetch_id, self._timing)
            # If the webhook wants https only, its client secret must not be sent over plain http either.
            self._transport.send(request._replace(https_only=callback.https_only, account=callback.account))
        except Exception as error:  # noqa: BLE001 - no fetch may keep the loop from all others
            # An invalid URL may have been checked by an older version.
            kind = FailureKind.UNREACHABLE if isinstance(error, ValueError) else FailureKind.TOKEN
            not_fetched = Exchange(
                callback._replace(id=wanted.fetch_id), _failure(kind, error), datetime.now(UTC), timedelta(0)
            )
            self._answers.append(not_fetched)

    def _handle_all_of(self, need: _Need) -> None:
        self._handle([one.request.id for one in need.waiting])

    def _forget(self, need: _Need) -> None:
        self._needs.pop((need.webhook_id, need.credentials), None)


def _failure(kind: FailureKind, error: Exception) -> Failure:
    """The text of an unexpected error could contain a secret."""
    return Failure(kind, f"the token could not be fetched ({type(error).__name__})")


def _failed(waiting: _Waiting, failure: Failure) -> Exchange:
    return Exchange(waiting.request, failure, waiting.began_at, timedelta(seconds=monotonic() - waiting.since))
