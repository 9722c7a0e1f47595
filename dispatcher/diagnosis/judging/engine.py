"""Pure. Whether the engine's processes live and do their work, as the database knows them."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from dispatcher.diagnosis.findings import Finding, Level, fail, ok, span, warn, within

LIVES = 30.0  # seconds: who was seen within this time lives
# By kind, for how long none may have been seen: then somebody should look, then customers wait. A maintenance worker
# is seen when it works.
SEEN = {"deliver": (LIVES, 60.0), "maintenance": (120.0, 600.0), "api": (60.0, float("inf"))}
LEASES = {"sweep": (30.0, 60.0), "upkeep": (600.0, 3_600.0)}  # seconds overdue
LATE = 30.0, 60.0  # seconds that a delivery is due
LATE_NOTICE = 900.0, 7_200.0
CLOCK_OFF = 30.0  # seconds; at a process's start it is known only roughly

_START = {
    "deliver": "start one: `python -P -m workers deliver`; its log says why it does not start",
    "maintenance": "start one, and beat: `python -P -m workers maintenance beat`; look at the broker",
    "api": "if customers or producers call it, start one: `python -P -m dispatcher.web`",
}
_STEPS = {
    "dns": "its resolver finds no names",
    "route": "it reaches nobody: its way out, or a firewall",
    "tls": "it accepts nobody's certificate: its trust store (DISPATCHER_CA_BUNDLE) or its clock",
}


class Process(NamedTuple):
    """A process, as its heartbeats say. `age`: seconds since the last one; negative: a time in the future."""

    kind: str
    host: str
    pid: int
    version: str
    made_at: datetime  # by its host's clock,
    started_at: datetime  # and by the database's
    age: float
    doing: str
    fault: str | None
    fault_for: float

    @property
    def lives(self) -> bool:
        return -LIVES < self.age <= LIVES

    @property
    def place(self) -> str:
        return f"{self.host}, pid {self.pid}"


def heartbeats(processes: Sequence[Process]) -> list[Finding]:
    found = []
    for kind, bounds in SEEN.items():
        ages = [max(0.0, one.age) for one in processes if one.kind == kind and one.age > -LIVES]
        age = min(ages, default=float("inf"))
        level = within(age, *bounds)
        if level is not Level.OK:
            says = (
                f"no {kind} process lives: the last one was seen {span(age)} ago"
                if ages
                else f"no {kind} process lives"
            )
            found.append(Finding(level, says, _START[kind], kind))
    kinds = Counter(one.kind for one in processes if one.lives)
    return found or [ok("live: " + ", ".join(f"{kinds[kind]} {kind}" for kind in SEEN))]


def versions(processes: Sequence[Process], ours: str) -> Finding:
    living = [one for one in processes if one.lives]
    found = sorted({one.version for one in living})
    if len(found) > 1:
        by_version = {one: sorted({each.host for each in living if each.version == one}) for one in found}
        says = "; ".join(f"{one} on {', '.join(hosts[:5])}" for one, hosts in by_version.items())
        return warn(f"several versions run: {says}", "they work side by side: upgrade the rest, or go back")
    if found and found != [ours]:
        return warn(f"all processes run {found[0]}, and this is {ours}", "call the doctor of the version that runs")
    return ok(f"version {ours}" if found else "no process lives")


def host_faults(processes: Sequence[Process]) -> list[Finding]:
    found, told = [], set()
    for one in processes:
        for step in (one.fault or "").split() if one.lives else ():
            if (one.host, step) not in told:
                told.add((one.host, step))
                says = f"{_STEPS.get(step, step)}, for {span(one.fault_for)}; its deliveries wait"
                found.append(fail(says, f"on that host, {_REPAIR.get(step, 'look at its log')}", where=one.host))
    return found or [ok("no host has a fault")]


_REPAIR = {
    "dns": "look at /etc/resolv.conf and its servers",
    "route": "try `curl -v https://...` to a receiver",
    "tls": "run `dispatcher doctor --handshake HOST` with a receiver's host",
}


def host_clocks(processes: Sequence[Process]) -> list[Finding]:
    """What a process's clock said when it began, against the database's."""
    off: dict[str, timedelta] = {}
    for one in processes:
        if one.lives and abs((one.made_at - one.started_at).total_seconds()) > CLOCK_OFF:
            off[one.host] = one.made_at - one.started_at
    return [
        warn(
            f"its clock was {span(abs(by.total_seconds()))} {'ahead of' if by > timedelta(0) else 'behind'} the"
            " database's when a process began",
            "look at its time service; the database's time is used meanwhile",
            where=host,
        )
        for host, by in off.items()
    ] or [ok("the clocks of all hosts agreed with the database's when their processes began")]


def leases(overdue: Mapping[str, float]) -> list[Finding]:
    found = []
    for name, bounds in LEASES.items():
        if name not in overdue:
            found.append(warn("was never done", "start a deliver node and a maintenance worker", where=name))
        elif (level := within(overdue[name], *bounds)) is not Level.OK:
            what = {"sweep": "retries stay where they are", "upkeep": "no weeks are made, nothing old goes"}[name]
            advice = "look for `sweep` and `upkeep` in the logs of deliver nodes and maintenance workers"
            found.append(Finding(level, f"is {span(overdue[name])} overdue: {what}", advice, name))
    return found or [ok("sweep and upkeep are done in time")]


class Work(NamedTuple):
    """What waits, and for how long, in seconds. `oldest_due` is of a delivery that nothing keeps."""

    oldest_due: float
    retry_overdue: float
    expired_claims: int
    suspects: int
    oldest_notice: float


def backlog(work: Work) -> list[Finding]:
    found = []
    if (level := within(work.oldest_due, *LATE)) is not Level.OK:
        advice = "are there enough deliver nodes, and do they get on? See `claim`, `snapshot` and docs/alerts.md"
        says = f"a delivery that nothing keeps has been due for {span(work.oldest_due)}"
        found.append(Finding(level, says, advice))
    if (level := within(work.retry_overdue, *LATE)) is not Level.OK:
        found.append(Finding(level, f"a retry is {span(work.retry_overdue)} late", "see `sweep`"))
    if work.expired_claims and work.retry_overdue > LATE[0]:
        found.append(warn(f"{work.expired_claims:,} claims have expired, and nobody frees them", "see `sweep`"))
    if work.suspects:
        advice = "a message or an answer may kill children: look for `when its worker died` in the logs"
        found.append(warn(f"{work.suspects:,} deliveries were in work when several processes died", advice))
    if (level := within(work.oldest_notice, *LATE_NOTICE)) is not Level.OK:
        advice = "see `mail`; the maintenance worker's log has `postponed` with the mail server's answer"
        found.append(Finding(level, f"a mail has been due for {span(work.oldest_notice)}", advice))
    return found or [ok("nothing is late")]


class Quarantined(NamedTuple):
    """Notices. `account`: whose the newest is."""

    number: int
    account: str


def quarantine(webhooks: Sequence[tuple[str, str]], notices: Quarantined | None) -> list[Finding]:
    """`webhooks`: id and reason of each, or of many."""
    found = [
        warn(
            f"is put aside: {reason}",
            f"most often a key is missing: add it, then `dispatcher webhook release {webhook}`",
            where=webhook,
        )
        for webhook, reason in webhooks[:5]
    ]
    if len(webhooks) > 5:
        found.append(
            warn(
                f"{len(webhooks) - 5} more webhooks are put aside", "`dispatcher webhook list --quarantined` shows them"
            )
        )
    if notices:
        listed = f"`dispatcher notice list --quarantined --account {shlex.quote(notices.account)}`"
        says = "1 notice is put aside" if notices.number == 1 else f"{notices.number:,} notices are put aside"
        found.append(warn(says, f"{listed}, then `dispatcher notice release ID`"))
    return found or [ok("nothing is quarantined")]
