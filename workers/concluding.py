"""From the end of a request to the results of its claims.

Faults of this host must not count as the receivers': a failure that may be one is kept here for a moment, until it is
known whose it is. What is ours is released: no attempt, no step of the schedule, no notice, no circuit.
"""

from collections import Counter, deque
from contextlib import suppress
from random import getrandbits
from time import monotonic
from typing import NamedTuple

import structlog

from dispatcher.transport.checks import split_url
from dispatcher.transport.exchange import Exchange, Failure, Reply, Request
from workers.batch import Batch
from workers.results.claim_result import ClaimResult
from workers.results.classify import Judgement, NotAttempted
from workers.results.decide import Decision
from workers.results.host_faults import HostFaults, Step, Whose, failed_step, is_literal, site_of, steps_made
from workers.results.judge import Judge
from workers.results.writer import ClaimResults

log = structlog.get_logger("dispatcher.host_faults")

HOLD = 5.0  # seconds for which a failure is kept at most, unless there is enough evidence
HELD_OF_ACCOUNT = 50  # likewise
BEFORE_CLAIM_ENDS = 5.0  # seconds in which a result can still be recorded
_SITES = 10_000
_OURS = NotAttempted()
_CHECK = {
    Step.DNS: "this machine's resolver",
    Step.ROUTE: "this machine's network, routes and firewall",
    Step.TLS: "the certificates to trust (DISPATCHER_CA_BUNDLE, or the system's) and this machine's clock",
}


class _Held(NamedTuple):
    batch: Batch
    exchange: Exchange
    judgement: Judgement | NotAttempted
    step: Step
    why: str
    epoch: int  # of the step's evidence
    until: float
    claims_end: float


class Conclusions:
    """Of one loop, on their way to `results`; `faults` is what its process knows of its host."""

    def __init__(self, faults: HostFaults, judge: Judge, results: ClaimResults) -> None:
        self._faults, self._judge, self._results = faults, judge, results
        self._held: deque[_Held] = deque()
        self._held_of: Counter[int] = Counter()
        self._sites: dict[str, tuple[str, bool]] = {}  # by URL
        self._told: dict[Step, float] = dict(faults.open)
        self._released = 0

    def __len__(self) -> int:
        return len(self._held)

    def trial(self, request: Request) -> Request:
        """With a fault, or a suspected one, half of the requests show whether each step works. What goes over a kept
        connection shows nothing, but may get through where a new one would not."""
        return request._replace(anew=True) if self._faults.is_limited and getrandbits(1) else request

    def conclude(self, batch: Batch, exchange: Exchange, judgement: Judgement | NotAttempted) -> None:
        """A request has ended."""
        faults = self._faults
        says_something = not faults.calm and (exchange.connected or faults.is_limited)
        if says_something or exchange.outcome.__class__ is not Reply:
            known = self._whose(batch, exchange, judgement)
            if known is None:
                return
            judgement = known
        self._add(batch, exchange, judgement)

    def give_up(self, batch: Batch, decision: Decision) -> None:
        """Claims were not sent: their attempts do not count."""
        for claim in batch.claims:
            self._results.add(ClaimResult(claim, decision, batch.target))

    def _add(self, batch: Batch, exchange: Exchange, judgement: Judgement | NotAttempted) -> None:
        count = len(batch.claims)
        made = () if isinstance(judgement, NotAttempted) else (exchange, judgement, count, batch.refused)
        for claim in batch.claims:
            decision = self._judge.decide(claim, batch.target, judgement, batch=count)
            self._results.add(ClaimResult(claim, decision, batch.target, *made))

    def _whose(
        self, batch: Batch, exchange: Exchange, judgement: Judgement | NotAttempted
    ) -> Judgement | NotAttempted | None:
        """What a result counts as. None: that is not known yet, and it is kept."""
        now, step, claim = monotonic(), failed_step(exchange.outcome), batch.claims[0]
        site, literal = self._site(batch, exchange)
        for made in steps_made(exchange):
            if made is not Step.DNS or not literal:
                self._faults.made(made, site, claim.account_no, now)
        if step is None:
            if not isinstance(judgement, NotAttempted):
                self._faults.got_through(now)
            self._tell(now)
            return judgement
        is_new = not claim.failing and claim.schedule_step == 0
        began = now - exchange.duration.total_seconds()
        whose = self._faults.failed(step, site, claim.account_no, now, began=began, is_new=is_new)
        assert isinstance(exchange.outcome, Failure)
        why = exchange.outcome.detail
        self._tell(now, why)
        if whose is Whose.OURS:
            self._released += 1
            return _OURS
        too_many = self._held_of[claim.account_no] >= HELD_OF_ACCOUNT and not self._faults.is_suspected
        if whose is Whose.RECEIVERS or too_many:
            return judgement
        self._held_of[claim.account_no] += 1
        epoch = self._faults.evidence[step].epoch
        latest = batch.claims_end - BEFORE_CLAIM_ENDS
        self._held.append(_Held(batch, exchange, judgement, step, why, epoch, min(now + HOLD, latest), latest))
        return None

    def settle(self, *, no_more: bool) -> None:
        """Passes on what is known now. `no_more`: nothing else will come that could tell."""
        if self._faults.calm and not self._held and not self._told:
            return
        now = monotonic()
        self._faults.settle(now)
        self._tell(now)
        if not self._held:
            return
        waiting, self._held = self._held, deque()
        for held in waiting:
            if self._is_unknown(held, now, no_more=no_more):
                self._held.append(held)
                continue
            self._held_of[held.batch.claims[0].account_no] -= 1
            is_ours = self._faults.evidence[held.step].is_open
            self._released += is_ours
            self._add(held.batch, held.exchange, _OURS if is_ours else held.judgement)
        self._held_of += Counter()  # only what is positive stays

    def _is_unknown(self, held: _Held, now: float, *, no_more: bool) -> bool:
        evidence = self._faults.evidence[held.step]
        if evidence.is_open or evidence.epoch != held.epoch or now >= held.claims_end:
            return False
        return self._faults.is_suspected or not (no_more or now >= held.until)

    def _site(self, batch: Batch, exchange: Exchange) -> tuple[str, bool]:
        """The site that a request was for, and whether its host is an address."""
        outcome, credentials = exchange.outcome, batch.target.client_credentials
        asks_token_server = isinstance(outcome, Failure) and outcome.cause is not None and credentials is not None
        url = credentials.endpoint if credentials is not None and asks_token_server else batch.target.url
        known = self._sites.get(url)
        if known is None:
            if len(self._sites) >= _SITES:
                self._sites.clear()
            host = ""
            with suppress(ValueError):  # of a token server: an older version may have checked it
                host = split_url(url).origin.host
            known = self._sites[url] = site_of(host), is_literal(host)
        return known

    def _tell(self, now: float, why: str | None = None) -> None:
        """Says once when a fault begins, and when it is over."""
        found = self._faults.open
        if found.keys() == self._told.keys():
            return
        for step in found.keys() - self._told.keys():
            failing = self._faults.evidence[step].failing
            log.error(
                "this host has a fault: unrelated receivers cannot be reached",
                step=str(step),
                why=why or next((held.why for held in self._held if held.step is step), None),
                receivers=len(failing),
                accounts=len(set(failing.values())),
                check=_CHECK[step],
            )
        for step in self._told.keys() - found.keys():
            seconds = round(now - self._told[step], 1)
            log.warning("this host's fault is over", step=str(step), lasted_s=seconds, released=self._released)
        self._told = found
        if not found:
            self._released = 0
