"""One storm: start, the plan's faults beside steady events, the wait until all that must end has ended, the verdict."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.kinds import SHOPS, STEADY, Faults, furnish
from tests.faults.ledgers import HELD_BACK, INNOCENT, Role
from tests.faults.plan import Plan, Step
from tests.faults.records import DELIVERIES, read_rows
from tests.faults.rig import Rig, died, running_rig
from tests.faults.verdict import Bounds, Problem, Verdict, judge

Say = Callable[[str], None]

CALM_SECONDS = 3.0  # before the storm
TICK = 0.1
LOOK_EVERY = 0.5
DRAIN_SECONDS = 45.0  # on top of what a claim lasts

# What must end: innocent and deadly deliveries altogether; others must not stay claimed or be claimed again and again.
_OPEN = f"""
SELECT count(*) FROM ({DELIVERIES}) d
WHERE d.event_id = ANY(CAST(:ending AS uuid[])) AND d.state NOT IN ('delivered', 'discarded', 'cancelled')
   OR d.event_id = ANY(CAST(:raising AS uuid[])) AND d.state IN ('ready', 'claimed')"""


def run_storm(plan: Plan, say: Say, show: Say, keep: Path | None = None) -> Verdict:
    """Runs it and judges it. `say` gets what happens, `show` how far it is. `keep`: a folder for ledgers and logs.
    Raises RuntimeError if the rig cannot be started."""
    durable = any(step.kind == "kill-postgres" for step in plan.steps)
    with running_rig(lease=plan.lease, time_scale=plan.time_scale, durable=durable) as rig:
        try:
            show("furnishing")
            furnish(rig, plan)
            for name in ("deliver", "upkeep", "beat", "api"):
                rig.start_node(name)
            rig.wait_until_ready()
            _rage(rig, plan, say, show)
            _drain(rig, plan, show)
            rig.check_whole()
            return _judge(rig, plan)
        finally:
            if keep is not None:
                keep_all(rig, keep)


def _rage(rig: Rig, plan: Plan, say: Say, show: Say) -> None:
    faults = Faults(rig, plan)
    todo = sorted(
        [
            *((step.at, faults.begin, step) for step in plan.steps),
            *((step.until, faults.end, step) for step in plan.steps if step.until > step.at),
        ],
        key=lambda one: one[0],
    )
    with rig.backend(plan.rate, STEADY, [f"{Role.STEADY}:{shop}" for shop in SHOPS]):
        try:
            began, looked = time.monotonic() + CALM_SECONDS, 0.0
            while (now := time.monotonic()) < began + plan.seconds or todo:
                while todo and began + todo[0][0] <= time.monotonic():
                    at, do, step = todo.pop(0)
                    if do == faults.begin:
                        say(f"{at:6.1f} s  {_name(step)}")
                    do(step)
                if now >= looked + LOOK_EVERY:
                    rig.look()
                    show(f"{max(0.0, now - began):.0f} of {plan.seconds:.0f} s, poison harmed {len(rig.harm())} times")
                    looked = now
                time.sleep(TICK)
        finally:
            faults.end_all()


def _name(step: Step) -> str:
    return f"{step.kind} {step.variant}".strip()


def _drain(rig: Rig, plan: Plan, show: Say) -> None:
    """Waits until what must end has ended, or has had the time for it."""
    sent = [one for one in rig.all_sent() if one.event]
    ending = [one.event for one in sent if one.role in INNOCENT or one.role is Role.KILLS]
    raising = [one.event for one in sent if one.role is Role.RAISES]
    deadline = time.monotonic() + plan.lease + DRAIN_SECONDS
    while time.monotonic() < deadline:
        ((count,),) = rig.rows(_OPEN, ending=ending, raising=raising, held_back=HELD_BACK)
        rig.look()
        missing = _missing_mails(rig)
        if not count and not missing:
            return
        show(f"over; {count} deliveries and {len(missing)} mails must still end")
        time.sleep(LOOK_EVERY)


def _missing_mails(rig: Rig) -> set[str]:
    return set(rig.expected_mails) - {address for mail in rig.mails.messages for address in mail.recipients}


def _judge(rig: Rig, plan: Plan) -> Verdict:
    harm = rig.harm()
    verdict = judge(
        rig.all_sent(),
        rig.received(),
        read_rows(rig.database),
        windows=[*rig.windows, *(died(one.poison, one.at) for one in harm if one.deadly)],
        harm=harm,
        webhooks=rig.webhooks,
        bounds=Bounds(),
    )
    for problem in rig.problems:
        verdict.add(Problem.RIG, problem)
    for address in sorted(_missing_mails(rig)):
        verdict.add(Problem.MAIL, f"{address} got none")
    return verdict


def keep_all(rig: Rig, folder: Path) -> None:
    """Copies ledgers and logs."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in rig.folder.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    (folder / "windows").write_text("".join(f"{window}\n" for window in rig.windows))
    (folder / "sent-by-rig").write_text("".join(f"{one}\n" for one in rig.sent))
