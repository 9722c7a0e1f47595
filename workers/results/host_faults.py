"""Whether failures are the receivers', or this host's own: its certificates to trust, resolver, route or clock. Pure.

A fault of the host hits receivers that have nothing to do with each other, and nobody else gets through the same step
of connecting. So evidence is what has just begun to fail, counted by site and account: however many webhooks one
account has, and one site serves, they count once. A single success of that step weighs as much as ten failures. What
failed while others got through is the receiver's own failure, and no evidence until it gets through itself.

Times are monotonic seconds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from ipaddress import ip_address
from math import inf

from dispatcher.transport.exchange import Exchange, Failure, FailureKind, Reply

NEEDED = 3  # unrelated receivers
OUTWEIGHED = 10  # failing ones, by one that gets through
SETTLE = 2.0  # seconds in which others may still get through, before it is the host's fault
WINDOW = 300.0  # seconds after which evidence that was not enough is forgotten
TRY_EVERY = 5.0  # seconds between two groups of trial requests
TRIALS = 8  # requests in such a group
MOST = 100  # sites that are counted
EXCLUDED = 600.0, 10_000  # seconds, and receivers at most, for which their own failures are remembered

_SECOND_LEVEL = re.compile(r"[a-z]{1,3}\.[a-z]{2}", re.ASCII)  # such as co.za: whose names belong to many


class Step(StrEnum):
    """A step of connecting that a fault of the host can stop. The value is what logs and the heartbeat show."""

    DNS = "dns"
    ROUTE = "route"
    TLS = "tls"


class Whose(Enum):
    """Whose a failure is."""

    RECEIVERS = 0
    UNKNOWN = 1  # yet
    OURS = 2


_STEPS = {
    FailureKind.DNS: Step.DNS,
    FailureKind.UNREACHABLE: Step.ROUTE,
    FailureKind.CONNECT_TIMEOUT: Step.ROUTE,
    FailureKind.CONNECTION_REFUSED: Step.ROUTE,  # a firewall can do that, too
    FailureKind.TLS: Step.TLS,
}


def failed_step(outcome: Reply | Failure) -> Step | None:
    """The step that failed, of the request itself or of the one for its token."""
    return None if isinstance(outcome, Reply) else _STEPS.get(outcome.cause or outcome.kind)


def steps_made(exchange: Exchange) -> list[Step]:
    """The steps that this request has shown to work. One on a connection that was kept shows nothing."""
    outcome, url = exchange.outcome, exchange.request.url
    failed = failed_step(outcome)
    made = []
    if exchange.looked_up and failed is not Step.DNS:
        made.append(Step.DNS)
    if exchange.connected and (failed is None or failed is Step.TLS):
        made.append(Step.ROUTE)
        answered = isinstance(outcome, Reply) or outcome.kind is FailureKind.TIMEOUT
        if answered and url[:6].lower() == "https:":
            made.append(Step.TLS)
    return made


def site_of(host: str) -> str:
    """What hosts of one owner have in common, as far as a name shows it: `a.example.com` and `b.example.com` are one
    site. A literal address is one by itself."""
    if is_literal(host):
        return host
    labels = host.rstrip(".").split(".")
    shared = 3 if len(labels) > 2 and _SECOND_LEVEL.fullmatch(".".join(labels[-2:])) else 2
    return ".".join(labels[-shared:])


def is_literal(host: str) -> bool:
    """Whether the host is an address, which needs no lookup."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class Evidence:
    """Of one step: sites, each with its account, that fail, and that got through since. `epoch` counts its beginnings.
    `met_at`: since when it is enough; `opened_at`: since when it counts as the host's fault; `closed_at`: until
    when the last one did."""

    failing: dict[str, int] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    unrelated: int = 0
    epoch: int = 0
    began: float = 0.0
    met_at: float = inf
    opened_at: float = inf
    closed_at: float = -inf

    @property
    def is_open(self) -> bool:
        return self.opened_at < inf

    def has_room(self, account_no: int) -> bool:
        """Whether another site of this account is counted: more of one account would prove no more."""
        return len(self.failing) < MOST and list(self.failing.values()).count(account_no) < NEEDED

    def begin_again(self, now: float) -> None:
        if self.is_open:
            self.closed_at = now
        self.failing, self.made, self.unrelated = {}, {}, 0
        self.epoch += 1
        self.met_at = self.opened_at = inf


class HostFaults:
    """What one process has seen. `calm`: nothing fails that could be the host's fault. `is_suspected`: there is enough
    evidence for one, and only time may still speak against it. `open`: the faults, each with since when. `claims_at`:
    nothing is claimed before. `accounts` and `webhooks`: how many there are in the installation, as far as that
    matters; `told`: faults of this host that another process has found."""

    def __init__(self) -> None:
        self.calm, self.is_suspected, self.claims_at = True, False, 0.0
        self.open: dict[Step, float] = {}
        self.accounts = self.webhooks = NEEDED
        self.told: frozenset[str] = frozenset()
        self.evidence = {step: Evidence() for step in Step}
        self._excluded: dict[str, float] = {}  # until when

    @property
    def is_limited(self) -> bool:
        """Whether only groups of trial requests are made."""
        return self.is_suspected or bool(self.open)

    def failed(self, step: Step, site: str, account_no: int, now: float, *, began: float, is_new: bool) -> Whose:
        """A request that was sent at `began` has failed; `is_new`: the webhook did not fail before."""
        one = self.evidence[step]
        if began < one.closed_at:
            return Whose.OURS
        is_evidence = is_new and self._excluded.get(site, 0.0) <= now and self.webhooks >= NEEDED
        if is_evidence:
            if not one.failing:
                one.began = now
            if site not in one.failing and one.has_room(account_no):
                one.failing[site] = account_no
                one.made.pop(site, None)
                one.unrelated = self._unrelated(one.failing)
            self._look(now)
        if one.is_open:
            return Whose.OURS
        return Whose.UNKNOWN if is_evidence or site in one.failing else Whose.RECEIVERS

    def made(self, step: Step, site: str, account_no: int, now: float) -> None:
        """A request got through this step."""
        self._excluded.pop(site, None)
        one = self.evidence[step]
        if not one.failing:
            return
        one.failing.pop(site, None)
        one.made[site] = account_no
        one.unrelated = self._unrelated(one.failing)
        if one.unrelated <= OUTWEIGHED * self._unrelated(one.made):
            self._exclude(one, now)
            one.begin_again(now)
            self._look(now)

    def settle(self, now: float) -> None:
        """Time has passed."""
        if not self.calm:
            self._look(now)

    def room(self, free: int) -> int:
        """How many requests the next claim may bring: with a fault, or a suspected one, a group of trial requests."""
        return min(free, TRIALS) if self.is_limited else free

    def claimed(self, now: float) -> None:
        """A claim was made."""
        if self.is_limited:
            self.claims_at = now + TRY_EVERY

    def got_through(self, now: float) -> None:
        """In spite of a fault something was answered: the next group may come."""
        self.claims_at = min(self.claims_at, now)

    def _look(self, now: float) -> None:
        for step, one in self.evidence.items():
            if one.is_open or not one.failing:
                continue
            is_told = step in self.told
            if one.unrelated >= (1 if is_told else NEEDED):
                one.met_at = min(one.met_at, now)
                if is_told or now >= one.met_at + SETTLE:
                    one.opened_at = now
                    self.claims_at = now + TRY_EVERY
            elif now >= one.began + WINDOW:
                one.begin_again(now)
        all_steps = self.evidence.values()
        self.open = {step: one.opened_at for step, one in self.evidence.items() if one.is_open}
        self.is_suspected = any(one.met_at < inf and not one.is_open for one in all_steps)
        self.calm = not any(one.failing or one.is_open for one in all_steps)
        if not self.is_limited:
            self.claims_at = 0.0

    def _unrelated(self, seen: Mapping[str, int]) -> int:
        accounts = len(set(seen.values()))  # each has a site of its own here
        there_are_others = self.accounts >= NEEDED or accounts < self.accounts
        return accounts if there_are_others else min(len(seen), NEEDED)

    def _exclude(self, one: Evidence, now: float) -> None:
        seconds, most = EXCLUDED
        if len(self._excluded) + len(one.failing) > most:
            self._excluded = {site: until for site, until in self._excluded.items() if until > now}
        if len(self._excluded) + len(one.failing) <= most:
            self._excluded.update(dict.fromkeys(one.failing, now + seconds))
