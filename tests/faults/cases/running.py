"""Runs cases on one rig while a backend sends steady events: one by one, each with its verdict, or mixed."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import inf

from sqlalchemy.exc import SQLAlchemyError

from dispatcher.errors import DispatcherError
from schedules.timing import Timing
from tests.faults.cases.case import Case
from tests.faults.cases.load import MAILS, SCHEDULES, STEADY_ACCOUNTS, furnish
from tests.faults.cases.mixing import Mixed
from tests.faults.kinds import STEADY
from tests.faults.ledgers import INNOCENT, Role, Sent, Way, Window
from tests.faults.records import read_rows
from tests.faults.recovery import MAIL, WAYS, Arrivals, of_calls, of_events, of_mails
from tests.faults.rig import Rig, running_rig
from tests.faults.verdict import Bounds, Problem, Verdict, judge

Say = Callable[[str], None]

LEASE, TIME_SCALE, RATE = 20.0, 0.1, 25.0
CALM_SECONDS = 2.0  # before each case
FLOWS_SECONDS = 2.0  # nothing may be late for so long, before all is taken to flow again
DRAIN_SECONDS = 30.0
TICK = 0.1
LOOK_EVERY = 0.5
_HOLD_UP = frozenset({"deliver", "postgres", "valkey"})  # what deliveries need
BEFORE = 60.0  # seconds before a case, of which events may still be on their way
_OPEN = """
SELECT count(*) FROM dispatcher.deliveries
WHERE event_id = ANY(CAST(:events AS uuid[])) AND state NOT IN ('delivered', 'discarded', 'cancelled')"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case. `recovery`: way -> seconds after the end of the fault."""

    verdict: Verdict
    recovery: Mapping[str, float]

    @property
    def recovered(self) -> bool:
        return max(self.recovery.values()) < inf


@contextmanager
def running_suite(*, small_disk: bool) -> Iterator["Suite"]:
    """A rig with everything that cases need, under steady load."""
    with running_rig(lease=LEASE, time_scale=TIME_SCALE, durable=True, small_disk=small_disk) as rig:
        # As a database that the version before has used, which opens no secrets that are bound to their rows.
        rig.execute("UPDATE dispatcher.installation SET oldest_revision = '0009'")
        furnish(rig)
        for name in ("deliver", "upkeep", "beat", "api"):
            rig.start_node(name)
        rig.wait_until_ready()
        with rig.backend(RATE, STEADY, STEADY_ACCOUNTS):
            yield Suite(rig)


class Suite:
    """The rig under load, and what was measured."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._arrivals = Arrivals()
        self._judged: set[str] = set()  # deliveries
        self._delivered: set[str] = set()  # those of them that must not arrive any more
        self._doubled: set[str] = set()  # notices that were mailed twice, and told
        self._probes: dict[str, float] = {}  # contact -> when its webhook failed
        self._problems_seen = self._received_seen = 0
        self._judged_until = time.monotonic()
        self._looked = self._probed = 0.0

    def run(self, case: Case, *, short: bool, show: Say) -> Outcome:
        """Does one case, waits until everything flows again, and judges what was sent meanwhile."""
        self._wait(CALM_SECONDS, f"{case.name}: calm", show, mails=case.mails)
        began = time.monotonic()
        self._probes.clear()
        with case.done_to(self.rig):
            self._wait(case.seconds(short=short), f"{case.name}: under way", show, mails=case.mails)
        ended = time.monotonic()
        recovery = self._await_flow(case, ended, show)
        window = self.window(case, began, ended)
        drain = case.longest_bound(lease=LEASE) + DRAIN_SECONDS if max(recovery.values()) < inf else 0
        verdict = self.judge([window], within=drain, show=show)
        for way, seconds in recovery.items():
            if seconds > (bound := case.bound(way, lease=LEASE)):
                when = "not yet" if seconds == inf else f"after {seconds:.1f} s"
                verdict.add(Problem.RECOVERY, f"{way}: {when}; {bound:g} s are allowed")
        return Outcome(verdict, recovery)

    def window(self, case: Case, began: float, ended: float) -> Window:
        only = frozenset({self.rig.webhooks["/moody/moody"]}) if case.receiver else None
        return Window(
            case.name,
            began,
            ended,
            grace=case.longest_bound(lease=LEASE),
            only=only,
            died=case.died,
            delays=case.receiver or bool(case.touches & _HOLD_UP),
        )

    def look(self, *, mails: bool) -> None:
        """Looks after the nodes, and makes a mail due."""
        now = time.monotonic()
        if now >= self._looked + LOOK_EVERY:
            self.rig.look()
            self._looked = now
        if mails and now >= self._probed + 1:
            self._probe_mail()
            self._probed = now

    def _wait(self, seconds: float, what: str, show: Say, *, mails: bool) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            show(f"{what}, for {left:.0f} s more")
            self.look(mails=mails)
            time.sleep(TICK)

    def _probe_mail(self) -> None:
        """A webhook whose receiver fails: its contact must hear of it, once."""
        contact = f"probe-{len(self.rig.expected_mails)}@example.com"
        kind = f"mail.{len(self.rig.expected_mails)}"
        try:
            self.rig.register(MAILS, f"/fail/{kind}", kind, contact_email=contact)
            self.rig.send(Role.TROUBLED, MAILS, kind)
        except (DispatcherError, SQLAlchemyError):
            return  # the database is away
        self.rig.expected_mails.append(contact)
        self._probes[contact] = time.monotonic()

    def _await_flow(self, case: Case, ended: float, show: Say) -> dict[str, float]:
        deadline = ended + case.longest_bound(lease=LEASE) + FLOWS_SECONDS
        while True:
            self.look(mails=case.mails and time.monotonic() < ended + FLOWS_SECONDS)
            now = time.monotonic()
            recovery = self._recovery(ended, now, mails=case.mails)
            latest = max(recovery.values())
            if now >= deadline or (latest < inf and now >= ended + latest + FLOWS_SECONDS):
                return recovery
            missing = ", ".join(way for way, seconds in recovery.items() if seconds == inf)
            show(f"{case.name}: over for {now - ended:.0f} s" + (f", waiting for {missing}" if missing else ""))
            time.sleep(LOOK_EVERY / 2)

    def _recovery(self, ended: float, now: float, *, mails: bool) -> dict[str, float]:
        sent = self._sent_since(self._judged_until)
        self._arrivals.add(self.rig.received())
        found = {way: of_calls(way, sent, ended=ended, now=now) for way in Way}
        found |= {name: of_events(role, sent, self._arrivals, ended=ended, now=now) for role, name in WAYS.items()}
        if mails:
            came = {address: mail.at for mail in reversed(self.rig.mails.messages) for address in mail.recipients}
            found[MAIL] = of_mails(self._probes, came, ended=ended, now=now)
        return {str(way): seconds for way, seconds in found.items()}

    def _sent_since(self, moment: float) -> list[Sent]:
        return [one for one in self.rig.all_sent() if one.asked >= moment]

    def judge(self, windows: Sequence[Window], *, within: float, show: Say) -> Verdict:
        """Waits until what was sent so far has ended, up to so many seconds, and judges it."""
        began, cut = self._judged_until, time.monotonic()
        self._drain(began, cut, cut + within, show)
        rig, since = self.rig, began - BEFORE
        ledger = list(rig.received())
        again = [one for one in ledger[self._received_seen :] if one.delivery in self._delivered]
        self._received_seen = len(ledger)
        received = [one for one in ledger if one.at >= began and one.delivery not in self._judged]
        rows = read_rows(rig.database, since)
        timing = Timing(TIME_SCALE)
        delays = {
            webhook: [delay.total_seconds() for delay in timing.schedule(SCHEDULES.get(path, "default")).delays]
            for path, webhook in rig.webhooks.items()
        }
        verdict = judge(
            self._sent_since(since),
            received,
            rows,
            windows=[*windows, *rig.windows],
            harm=(),
            webhooks=rig.webhooks,
            # In a mix one fault follows the other, and what waits for one may meet all of them: there it is judged
            # whether it was overtaken.
            bounds=replace(Bounds(), links=len(windows)) if rig.is_mixed else Bounds(),
            delays=delays,
            between=(began, cut),
        )
        for one in again:
            verdict.add(Problem.DOUBLED, f"delivery {one.delivery} arrived once more, long after it had ended")
        self._judged |= verdict.endings.keys()
        innocent = {one.event for one in self._sent_since(began) if one.role in INNOCENT}
        self._delivered |= {row.delivery for row in rows if row.event in innocent} & verdict.endings.keys()
        self._judged_until = cut
        for problem in rig.problems[self._problems_seen :]:
            verdict.add(Problem.RIG, problem)
        self._problems_seen = len(rig.problems)
        for text in self._doubled_mails():
            verdict.add(Problem.MAIL_DOUBLED, text)
        return verdict

    def _drain(self, began: float, cut: float, deadline: float, show: Say) -> None:
        while time.monotonic() < deadline:
            sent = [one for one in self._sent_since(began) if one.asked < cut and one.role in INNOCENT]
            ((count,),) = self.rig.rows(_OPEN, events=[one.event for one in sent if one.event])
            if not count:
                return
            show(f"{count} deliveries must still end")
            self.look(mails=False)
            time.sleep(LOOK_EVERY)

    def _doubled_mails(self) -> Iterator[str]:
        """Their Message-ID begins with the id of the notice."""
        notices = Counter(str(mail.parsed["Message-ID"]).partition(".")[0] for mail in self.rig.mails.messages)
        for notice, count in notices.items():
            if count > 1 and notice not in self._doubled:
                self._doubled.add(notice)
                yield f"notice {notice}: {count} mails"

    def run_mix(self, mix: Sequence[Mixed], seconds: float, say: Say, show: Say) -> Verdict:
        """Does all of a mix at its times, and judges everything at once in the end."""
        self._wait(CALM_SECONDS, "calm", show, mails=False)
        began, self.rig.is_mixed = time.monotonic(), True
        todo = sorted(
            [*((one.at, True, one) for one in mix), *((one.until, False, one) for one in mix)],
            key=lambda step: (step[0], not step[1]),
        )
        open_: dict[int, tuple[ExitStack, float]] = {}
        windows: list[Window] = []
        try:
            for at, begins, one in todo:
                self._wait(began + at - time.monotonic(), "mixed", show, mails=True)
                if begins:
                    say(f"{time.monotonic() - began:6.1f} s  {one.case.name}")
                    self._begin(one, open_)
                else:
                    windows += self._end(one, open_)
            self._wait(began + seconds - time.monotonic(), "mixed", show, mails=True)
        finally:
            for stack, _ in open_.values():
                stack.close()
        longest = max((one.case.longest_bound(lease=LEASE) for one in mix), default=0.0)
        return self.judge(windows, within=longest + DRAIN_SECONDS, show=show)

    def _begin(self, one: Mixed, open_: dict[int, tuple[ExitStack, float]]) -> None:
        stack, began = ExitStack(), time.monotonic()
        open_[id(one)] = stack, began
        try:
            stack.enter_context(one.case.done_to(self.rig))
        except Exception as error:  # noqa: BLE001 - another fault may be in its way; the others go on
            self.rig.problems.append(f"{one.case.name}: {type(error).__name__}: {error}")

    def _end(self, one: Mixed, open_: dict[int, tuple[ExitStack, float]]) -> Iterator[Window]:
        stack, began = open_.pop(id(one))
        try:
            stack.close()
        except Exception as error:  # noqa: BLE001 - as above
            self.rig.problems.append(f"{one.case.name}: {type(error).__name__}: {error}")
        yield self.window(one.case, began, time.monotonic())
