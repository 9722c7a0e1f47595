"""The tokens of one loop: what waits for one, the requests that fetch them, and what receivers say of them.

The loop must not stand still for a token. So a request that needs one waits here, in its place among those in flight,
while the token request goes through the same transport as all others.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic
from typing import NamedTuple, TypeAlias, assert_never

import structlog
from sqlalchemy import Connection, Engine

from dispatcher.ids import new_id_text
from dispatcher.receiver_auth.credentials import ClientCredentials
from dispatcher.receiver_auth.token_request import FETCH_SECONDS, Issued, read_answer, token_request
from dispatcher.transport.exchange import CONNECT_SECONDS, Exchange, Failure, FailureKind, Request
from dispatcher.transport.port import Transport
from schedules.timing import Timing
from workers.callbacks.targets import Target
from workers.tokens.store import FAILURE_PAUSE, Missing, Token, TokenStore, Wanted

log = structlog.get_logger("dispatcher.tokens")

LOOK_EVERY = 0.1  # seconds: how late a token that another worker has fetched is seen

# What a request that waited gets: the token, the failure that it ends with, or nothing, and is given back.
Came: TypeAlias = Token | Exchange | None


class _Waiting(NamedTuple):
    request: Request  # as it would go without a token
    began_at: datetime
    since: float  # monotonic


@dataclass(slots=True)
class _Need:
    """The requests that wait for one token, until one of them must wait no longer. `look_at` is when the token is
    looked for, never while this loop fetches it. Times are monotonic."""

    webhook_id: str
    credentials: ClientCredentials
    waiting: list[_Waiting] = field(default_factory=list)
    until: float = inf
    look_at: float = 0.0


class Tokens:
    """One thread, the loop's, calls all of this."""

    def __init__(self, engine: Engine, store: TokenStore, transport: Transport, timing: Timing) -> None:
        self._engine = engine
        self._store = store
        self._transport = transport
        self._timing = timing
        self._needs: dict[tuple[str, ClientCredentials], _Need] = {}
        self._fetches: dict[str, tuple[Wanted, _Need]] = {}  # our token requests in flight, by their ids
        self._answers: list[Exchange] = []  # to them, not dealt with yet
        self._paused_until = 0.0

    @property
    def fetching(self) -> int:
        """How many token requests are in flight or not dealt with. Each but those of a loop that stops has a request
        waiting for it, and so a slot."""
        return len(self._fetches)

    @property
    def due_at(self) -> float:
        """When `settle` has something to do, monotonic."""
        if not self._needs and not self._answers:
            return inf
        first = 0.0 if self._answers else min([need.look_at for need in self._needs.values()])
        return max(first, self._paused_until)

    def at_hand(self, target: Target) -> Token | None:
        """The token for this webhook, if it takes one and it is known."""
        credentials = target.client_credentials
        return None if credentials is None else self._store.at_hand(target.id, credentials)

    def await_one(self, webhook_id: str, credentials: ClientCredentials, request: Request, until: float) -> None:
        """Has a request wait for a token; `settle` tells what came of it. It cannot be sent after `until` (monotonic),
        so no token request is begun that could end later."""
        need = self._needs.setdefault((webhook_id, credentials), _Need(webhook_id, credentials))
        need.until = min(need.until, until - self._timing.timeout(CONNECT_SECONDS + FETCH_SECONDS))
        need.waiting.append(_Waiting(request, datetime.now(UTC), monotonic()))

    def sift(self, ended: list[Exchange]) -> list[Exchange]:
        """What has ended on the transport, without the answers of token servers: they are kept for `settle`."""
        if not self._fetches:
            return ended
        self._answers += [exchange for exchange in ended if exchange.request.id in self._fetches]
        return [exchange for exchange in ended if exchange.request.id not in self._fetches]

    def settle(self, *, stopping: bool) -> list[tuple[str, Came]]:
        """Deals with the answers of token servers, looks for tokens that are missing, and begins to fetch what nobody
        else does. Tells of requests, by id, that wait no longer. Raises DBAPIError where the database is away: nothing
        has changed then. Once the worker stops nothing waits, and nothing is begun."""
        told = self._given_back(stopping=stopping)
        if told or monotonic() < self.due_at:
            return told
        answers = list(self._answers)
        wanted = [Wanted(need.webhook_id, need.credentials, new_id_text()) for need in self._to_look_for()]
        with self._engine.begin() as connection:
            came = [self._put(connection, answer) for answer in answers]
            found = self._store.look(connection, wanted) if wanted else {}
        self._answers = []
        for answer, fetched in zip(answers, came, strict=True):
            told += self._end_fetch(answer, fetched)
        for one in wanted:
            told += self._heed(one, found[one.webhook_id])
        return told

    def refuse(self, target: Target, token: Token) -> bool:
        """The receiver refused this token. Whether another is worth a try; if so, this one is dropped. Raises
        DBAPIError where the database is away."""
        with self._engine.begin() as connection:
            other = self._store.refuse(connection, target.id, token)
        if other:
            log.info("token refused", webhook=target.id)
        return other

    def accept(self, target: Target, token: Token) -> None:
        """The receiver did not refuse this token. Raises DBAPIError where the database is away."""
        if token.after_refusal:
            with self._engine.begin() as connection:
                self._store.accept(connection, target.id, token)

    def pause(self, seconds: float) -> None:
        """The database is away."""
        self._paused_until = monotonic() + seconds

    def _given_back(self, *, stopping: bool) -> list[tuple[str, Came]]:
        """What must not wait any longer. What this loop fetches is waited for: its end is bounded."""
        now = monotonic()
        told: list[tuple[str, Came]] = []
        for need in list(self._needs.values()):
            if stopping or (need.until < now and need.look_at < inf):
                told += [(one.request.id, None) for one in need.waiting]
                need.waiting.clear()
                self._forget(need)
        return told

    def _to_look_for(self) -> list[_Need]:
        """Of each webhook one: its credentials can have changed while older ones are still waited for."""
        now = monotonic()
        return list({need.webhook_id: need for need in self._needs.values() if need.look_at <= now}.values())

    def _put(self, connection: Connection, answer: Exchange) -> Token | Failure:
        wanted, _ = self._fetches[answer.request.id]
        read = read_answer(answer.outcome)
        if isinstance(read, Issued):
            return self._store.put(connection, wanted, read)
        self._store.fetch_failed(connection, wanted, pause=self._timing.timeout(FAILURE_PAUSE))
        return read

    def _end_fetch(self, answer: Exchange, fetched: Token | Failure) -> list[tuple[str, Came]]:
        wanted, need = self._fetches.pop(answer.request.id)
        self._forget(need)
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

    def _heed(self, wanted: Wanted, found: Token | Missing) -> list[tuple[str, Came]]:
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
        request = token_request(wanted.credentials, wanted.fetch_id, self._timing)
        # Where the webhook wants https only, its secret goes over nothing else either.
        request = request._replace(https_only=need.waiting[0].request.https_only)
        try:
            self._transport.send(request)
        except ValueError:  # no URL: it was checked, but by an older version perhaps
            failure = Failure(FailureKind.UNREACHABLE, "")
            self._answers.append(Exchange(request, failure, datetime.now(UTC), timedelta(0)))

    def _forget(self, need: _Need) -> None:
        self._needs.pop((need.webhook_id, need.credentials), None)


def _failed(waiting: _Waiting, failure: Failure) -> Exchange:
    return Exchange(waiting.request, failure, waiting.began_at, timedelta(seconds=monotonic() - waiting.since))
