"""The delivery loop: claim -> render -> send -> classify -> decide -> record, and again, until nothing is due. On a
node that only delivers it then stays, parked, until it is told that something is due.

First attempts, retries and redeliveries all take this path. Many requests are in flight at once, and a slow one does
not delay the next claim. Results are written in groups before anything is forgotten.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import attrgetter
from time import monotonic

import structlog
from sqlalchemy import Connection, exc

from dispatcher.db.outages import is_defect, is_held_up, is_refused_memory
from dispatcher.states import Reason
from dispatcher.transport.exchange import Exchange, Reply
from dispatcher.wake import DELIVER, SUSPECTS
from dispatcher.webhooks.contract import Verdict
from workers.batch import Batch
from workers.bell import SLICE, Bell
from workers.callbacks.batches import halves
from workers.callbacks.render import RenderFailed, render
from workers.claims.claims import CLAIM, MAX_MESSAGES, Claim, Claimed, Claimer
from workers.claims.concurrency import MAX_REQUESTS, ConcurrencyClass, Rooms
from workers.claims.held_bytes import BYTES_BESIDE_OTHERS, HeldBytes
from workers.claims.pace import LONGEST_POLL, Pace
from workers.claims.statements import MAX_BYTES
from workers.claims.suspects import SuspectClaimer
from workers.concluding import Conclusions
from workers.heartbeat import LoopHeartbeat
from workers.journal import MOST_HANDLED
from workers.lifetime import Lifetime
from workers.parking import loops_stay
from workers.preparing import prepare
from workers.process import Worker
from workers.recovery import recover
from workers.results.attempt_log import WORDS
from workers.results.classify import NotAttempted
from workers.results.decide import Decision, Discard, Release
from workers.results.judge import Judge
from workers.results.writer import AGAIN, ClaimResults
from workers.spare_memory import SpareMemory
from workers.stopping import asked_at, is_stopping, stop_descriptors
from workers.tokens.store import Token
from workers.tokens.waiting import Tokens
from workers.wake_flag import WakeFlag

log = structlog.get_logger("dispatcher.deliver")

DATABASE_PAUSE = 1.0
PLENTY = 100  # a claim of this many deliveries wakes another loop: there may be too much work for one
UNAUTHORIZED = 401


class DeliveryLoop:
    """One delivery loop of one process, for what has this task's wakes: everything that is due, or suspects."""

    def __init__(self, worker: Worker, task: str = DELIVER) -> None:
        installation = worker.installation
        self._worker = worker
        self._engine = worker.loop_engine
        self._waker, self._task = installation.waker, task
        self._bell = Bell(installation.waker) if task == DELIVER and loops_stay() else None
        self._flag = WakeFlag(installation.waker, task)  # unused with a bell
        self._timing, self._clock = installation.timing, installation.clock
        self._transport, self._targets = worker.transport, worker.targets
        self._limits = worker.concurrency_limits
        self._claimer = SuspectClaimer() if task == SUSPECTS else Claimer()
        self._journal, self._counts = worker.journal, worker.counts
        failures = installation.settings.circuit_breaker_failures
        engine, timing, clock, store, counts = self._engine, self._timing, self._clock, worker.token_store, self._counts
        self._results = ClaimResults(
            engine, self._waker, timing, clock, failures, worker.outages, owner=self._claimer.id, counts=counts
        )
        self._tokens = Tokens(engine, store, self._transport, timing, clock=clock, handle=self._handle, counts=counts)
        self._unsent: deque[Batch] = deque()
        self._in_flight: dict[str, Batch] = {}
        self._held, self._heartbeat = HeldBytes(), LoopHeartbeat(worker, task)
        self._pace, self._spare = Pace(), SpareMemory(worker.transport)
        self._pace.look_every = None if self._bell is None else self._bell.look_every
        self._judge, self._faults = Judge(self._timing, self._clock(), counts), worker.host_faults
        self._conclusions = Conclusions(self._faults, self._judge, self._results)
        self._lifetime = Lifetime(monotonic(), installation.settings.grace_seconds)
        self._claimed, self._handed_over, self._woke_another = 0, False, False
        self._circuit_breakers = failures > 0

    def run(self) -> dict[str, int]:
        """Delivers everything that is due, with a bell for up to an hour; returns counts of what it did. When the
        worker stops, the loop claims no more, and ends with its last request in flight, or with the grace time. Raises
        what is wrong with the loop itself; before, it records what it knows, and gives back what it did not send."""
        recover(self._engine, self._journal, self._waker)  # what the loop before left, if it died
        self._journal.begin(self._claimer.id)
        try:
            self._deliver_all()
            if self._bell is None and is_stopping():
                self._flag.clear()  # otherwise producers would rely on a loop that has ended
        except BaseException:
            # The next loop would get the answers to what is still in flight, and knows nothing about it.
            self._worker.drop_transport()
            with suppress(Exception):  # otherwise the next loop does it, or the sweep
                self._write()
                recover(self._engine, self._journal, self._waker)
            raise
        finally:
            if self._bell is not None:
                self._transport.watch(frozenset())
                self._bell.close()
        self._journal.end()
        self._spare.end(self._claimed)
        return {"claimed": self._claimed, **{word: self._results.tally[word] for word in WORDS}}

    def _deliver_all(self) -> None:
        while True:
            if self._bell is None and not self._ending():
                self._flag.keep(monotonic(), has_room=self._limits.has_room(monotonic()))
            self._heartbeat.beat(idle=self._pace.nothing_due and self._is_idle(), ending=self._ending())
            if self._may_claim():
                self._claim()
            self._settle_tokens()
            self._send()
            self._journal.handled()
            for exchange in self._ended():
                self._end(exchange)
            self._conclusions.settle(no_more=self._ending() or (self._bell is None and not self._in_flight))
            self._journal.handled()
            self._write()
            if self._is_idle():
                if self._ending() or (self._bell is None and self._nothing_left()):
                    break
                self._spare.rest(self._claimed, monotonic())
            if self._lifetime.grace_is_over(monotonic(), stopping=is_stopping(), asked_at=asked_at()):
                log.warning("grace time over", in_flight=len(self._in_flight), unwritten=len(self._results))
                break

    def _is_idle(self) -> bool:
        return not (self._is_busy() or self._unsent or self._results)

    def _is_busy(self) -> bool:
        """Whether something will come of what was sent."""
        return bool(self._in_flight or self._tokens.fetching or self._conclusions)

    # ---- claim, render, send

    def _may_claim(self) -> bool:
        if self._ending() or self._unsent or not self._can_hold_more() or monotonic() < self._faults.claims_at:
            return False
        may = self._task != SUSPECTS or self._is_idle()
        return may and self._pace.may_claim(len(self._in_flight), monotonic())

    def _can_hold_more(self) -> bool:
        has_slots = len(self._in_flight) < self._transport.capacity and self._journal.room >= MAX_MESSAGES
        return has_slots and self._held.free > 0

    def _claim(self) -> None:
        """Claims as much as there is room for."""
        now = monotonic()
        rooms = self._limits.rooms(now)
        self._journal.claiming(now=True)
        with self._patient_with_database():
            with self._engine.connect() as connection:
                passing, claimed = self._take(connection, rooms, now)
                claims: Sequence[Claim] = [*passing, *claimed.claims]
                versions = {claim.webhook_id: claim.webhook_version for claim in claims}
                targets = self._targets.load(connection, versions)
                self._results.commit_claims(connection, claims)
            self._worker.outages.succeeded()
            claims = self._results.not_being_made(claims, self._held.attempts)
            self._held.add(claims)
            count, ended = len(claims), monotonic()
            self._claimed += count
            self._counts.claim(count, ended - now)
            self._faults.claimed(ended)
            self._pace.claimed(
                claimed, count, in_flight=len(self._in_flight), waits_long=rooms.waits_long, took=ended - now, now=ended
            )
            if (claimed.full or count >= PLENTY) and not (self._woke_another and self._bell is None):
                self._woke_another = self._waker.wake_another(self._task)
            may_send = rooms.of(versions)
            for webhook_id, of_one in groupby(claims, key=attrgetter("webhook_id")):
                target, most = targets.get(webhook_id), max(1, may_send[webhook_id])
                made, ended_unsent = prepare(list(of_one), target, now + CLAIM.total_seconds(), most, self._judge)
                self._unsent.extend(made)
                for result in ended_unsent:
                    self._results.add(result)
        self._journal.claiming(now=False)

    def _take(self, connection: Connection, rooms: Rooms, now: float) -> tuple[Sequence[Claim], Claimed]:
        """What passes an open circuit, and what is ready."""
        free = self._faults.room(self._transport.capacity - len(self._in_flight))
        passing: Sequence[Claim] = ()
        room = min(rooms.classes[ConcurrencyClass.FAILING], MAX_REQUESTS, free)
        if self._pace.looks_at_passing(now) and self._circuit_breakers and room:
            passing = self._claimer.claim_passing(connection, rooms, room)
        if free <= len(passing):
            return passing, Claimed((), round_done=False, full=False)
        return passing, self._claimer.claim(
            connection,
            rooms.without(claim.account_no for claim in passing),
            free - len(passing),
            limit_bytes=self._held.free,
            allowed_bytes=self._held.allowed,
            account_bytes=self._held.by_account(),
            bytes_at_once=BYTES_BESIDE_OTHERS if self._limits.is_shared(now) else MAX_BYTES,
            circuit_breakers=self._circuit_breakers,
        )

    def _send(self) -> None:
        """Sends as many batches as there are free slots. A worker that stops releases its unsent claims at once."""
        while self._unsent and (is_stopping() or len(self._in_flight) < self._transport.capacity):
            batch = self._unsent.popleft()
            if is_stopping():
                self._conclusions.give_up(batch, Release())
            else:
                self._start(batch)

    def _start(self, batch: Batch) -> None:
        target, token = batch.target, batch.token or self._tokens.cached(batch.target)
        self._journal.handle(batch.claims)
        try:
            shown = token.value if token is not None else None
            now, request_id = self._clock.timestamp(), self._clock.new_id_text()
            request = render(batch.claims, target, request_id, now=now, timing=self._timing, token=shown)
        except Exception as error:  # noqa: BLE001 - one message must not end the loop again and again
            self._cannot_start(batch, error, Discard(Reason.RENDER_FAILED))
            return
        # Waiting for a turn at the DNS lookup does not count as the receiver's time, so it is added.
        latest = batch.claims_end - request.connect_timeout - request.timeout
        if monotonic() > latest:
            # This process stalled after its claim: another one could make the attempt before this one ends.
            self._conclusions.give_up(batch, Release())
            return
        try:
            if target.client_credentials is not None and token is None:
                self._tokens.await_one(target.id, target.client_credentials, request, latest)
            else:
                self._journal.sent(batch.claims)
                self._transport.send(self._conclusions.trial(request))
        except Exception as error:  # noqa: BLE001 - nor one request
            self._cannot_start(batch, error, Discard(Reason.RENDER_FAILED) if isinstance(error, ValueError) else None)
            return
        self._in_flight[request.id] = batch if token is None else batch._replace(token=token)
        self._limits.sent(target.id, batch.claims[0].account_no, monotonic(), target.destination)

    def _cannot_start(self, batch: Batch, error: Exception, decision: Decision | None) -> None:
        """Halves a batch until the message that fails is alone. Without a decision that one is retried."""
        if isinstance(error, MemoryError):
            self._held.shrink()  # fewer at once may fit, and later
            decision = None
        if len(batch.claims) > 1:
            self._unsent.extendleft(batch._replace(claims=half) for half in halves(batch.claims))
        else:
            # The text of an unexpected error could contain part of the message.
            why = str(error) if isinstance(error, RenderFailed | ValueError) else type(error).__name__
            log.warning("callback cannot be made", why=why, **batch.claims[0].ids)
            self._conclusions.give_up(batch, decision or self._judge.decide_after(error, batch.claims[0], batch.target))

    def _settle_tokens(self) -> None:
        """Starts token requests, and sends or ends the requests that waited for tokens in their slots."""
        with self._patient_with_database():
            for request_id, came in self._tokens.settle(stopping=is_stopping()):
                if isinstance(came, Exchange):
                    self._end(came)
                    continue
                batch = self._in_flight.pop(request_id)
                self._limits.taken_back(batch.target.id)
                if came is None:
                    self._conclusions.give_up(batch, Release())
                else:
                    self._unsent.appendleft(batch._replace(token=came))

    def _handle(self, request_ids: Sequence[str]) -> None:
        """Their token is being fetched or read: what that kills has to do with all of them."""
        self._journal.handle([claim for one in request_ids for claim in self._in_flight[one].claims][:MOST_HANDLED])

    # ---- classify, decide, record

    def _ended(self) -> list[Exchange]:
        """The exchanges that have ended. Waits no longer than until the next claim or write is due."""
        now, busy = monotonic(), self._is_busy()
        self._counts.in_flight(len(self._in_flight))
        may_end = self._ending() or (self._bell is None and self._pace.nothing_due)
        if not busy and (self._results.is_due(idle=True) if self._results else may_end):
            return []
        steps = self._results.write_at, self._tokens.due_at, self._flag.renew_at, self._heartbeat.due_at
        next_step = min(max(self._pace.next_at, self._faults.claims_at), *steps)
        if self._bell is not None:
            if self._has_room(now) and not self._ending():
                next_step = min(next_step, self._bell.listen(now, now if self._is_idle() else self._pace.calm_at))
            self._transport.watch(self._bell.descriptors | stop_descriptors())
            self._pace.look_every = self._bell.look_every
        longest = LONGEST_POLL if busy or self._bell is None else SLICE
        ended = self._tokens.take_answers(self._transport.wait(min(max(next_step - monotonic(), 0.001), longest)))
        if self._bell is not None and self._bell.rang():
            self._look_again()
        for request_id, address in self._transport.addresses():
            if request_id in self._in_flight:  # not a token's
                self._limits.found(self._in_flight[request_id].target.destination, address)
        if busy:
            self._limits.seen(len(ended), monotonic())
        return ended

    def _has_room(self, now: float) -> bool:
        return self._can_hold_more() and self._limits.has_room(now) and now >= self._faults.claims_at

    def _look_again(self) -> None:
        """Looks at everything, from where it is now. What it has no room for is for others."""
        if self._ending() or not self._has_room(monotonic()):
            self._waker.wake_another(self._task)
        self._claimer.start_round()
        self._pace.told(monotonic())

    def _end(self, exchange: Exchange) -> None:
        batch = self._in_flight.pop(exchange.request.id)
        target = batch.target
        self._journal.handle(batch.claims)
        judgement = self._judge.judge(exchange, target)
        failed = isinstance(judgement, NotAttempted) or judgement.verdict is Verdict.TEMPORARY
        self._limits.ended(target.id, failed=failed, duration=exchange.duration, now=monotonic())
        if batch.token is not None and self._is_sent_again(batch, batch.token, exchange):
            return
        self._conclusions.conclude(batch, exchange, judgement)

    def _is_sent_again(self, batch: Batch, token: Token, exchange: Exchange) -> bool:
        """Handles what an answer says about the token that was presented. When the token is refused for the first time,
        the same attempt is made once more with another: an old token must not discard anything."""
        if not isinstance(exchange.outcome, Reply):
            return False
        if exchange.outcome.status != UNAUTHORIZED:
            with self._patient_with_database():
                self._tokens.accept(batch.target, token)
            return False
        if batch.refused is not None:
            return False
        another = None
        with self._patient_with_database():
            another = self._tokens.refuse(batch.target, token)
        if another is None:  # not known while the database is unavailable
            self._conclusions.give_up(batch, Release())
        elif another:
            self._unsent.appendleft(batch.once_more(exchange))
        return another is not False

    def _write(self) -> None:
        if self._results.is_due(idle=not self._in_flight):
            with self._patient_with_database():
                self._results.write()
                self._worker.outages.succeeded()
        written = self._results.written()
        self._held.remove(written.freed)
        self._journal.remove(written.recorded)

    # ---- wake, and end

    def _nothing_left(self) -> bool:
        """Whether the loop may end. It clears its wake flag, then looks once more. That look finds whatever was
        committed before it; a producer that commits after it finds no flag and sends a wake."""
        if not (self._pace.nothing_due or monotonic() < self._faults.claims_at):
            return False
        self._flag.clear()
        self._claimer.start_round()
        self._pace.start_again()
        while self._is_idle() and not self._pace.nothing_due and not self._pace.paced and not self._ending():
            if monotonic() < self._faults.claims_at:
                return True  # a later wake tries again
            self._claim()
        return self._pace.nothing_due and self._is_idle()

    def _ending(self) -> bool:
        """Whether the loop claims no more: the worker is stopping, or the loop is old and has woken another."""
        if not is_stopping() and self._lifetime.is_over(monotonic()) and not self._handed_over:
            if self._bell is not None:
                self._handed_over = self._bell.is_heard  # then the main process can start the next one
            else:
                self._flag.clear()
                self._handed_over = self._waker.wake_another(self._task)
        return is_stopping() or self._handed_over

    @contextmanager
    def _patient_with_database(self) -> Iterator[None]:
        """While the database is unavailable, claims and writes pause; what is in flight goes on, results are kept."""
        try:
            yield
        except (exc.DatabaseError, exc.InterfaceError, MemoryError) as error:
            if is_defect(error):
                raise
            if is_refused_memory(error):
                if not self._held.shrink():
                    raise
                self._engine.dispose()  # a connection keeps the buffer of its largest answer
                log.warning("not enough memory, claims become smaller")
                return
            self._worker.outages.failed(error)
            pause = AGAIN if is_held_up(error) else DATABASE_PAUSE
            self._results.pause(pause)  # ends first: what cannot be recorded must not be sent
            self._pace.pause(pause, monotonic())
            self._tokens.pause(pause)
