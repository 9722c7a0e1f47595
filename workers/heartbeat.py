"""The heartbeat of a loop. With it the loop learns how many processes deliver, and that it should sweep.

A parked loop sweeps as soon as that is due. One that is busy does so only if nobody has for twice the time, and then in
small pieces: answers wait for it.
"""

from datetime import timedelta
from time import monotonic

import structlog

from dispatcher.db.heartbeat import BEAT_EVERY, DELIVERS, MAINTAINS, NO_FAULT, Asked, Fault
from dispatcher.db.heartbeat import SUSPECTS as TRIES_SUSPECTS
from dispatcher.db.outages import is_held_up, is_outage
from dispatcher.wake import SUSPECTS
from schedules import beat
from workers.maintenance.sweep import LEASE, LEASE_SPAN, SMALL, sweep_with_lease
from workers.process import Worker

log = structlog.get_logger("dispatcher.heartbeat")

REST = 3  # pause before the sweep goes on, in times the duration of its last piece


class LoopHeartbeat:
    """Of one loop. `due_at` is when it wants to be called again, monotonic."""

    def __init__(self, worker: Worker, task: str) -> None:
        self._worker, self._tries_suspects = worker, task == SUSPECTS
        self._sweep_seconds = beat.SWEEP.seconds(worker.installation.timing)
        self._is_sweeping = False  # something was left
        self.due_at = worker.next_beat

    def beat(self, *, idle: bool, ending: bool) -> None:
        """The loop has made a turn. Does what is due; a loop that is ending sweeps no more. No error keeps it from its
        deliveries: they notice by themselves that the database is away."""
        self._worker.watchdog.progressed()
        began = monotonic()
        if began < self.due_at:
            return
        self.due_at = began + BEAT_EVERY
        try:
            self._beat(began, idle=idle, ending=ending)
            self._worker.outages.succeeded()
        except Exception as error:  # noqa: BLE001 - its text could contain values
            if is_outage(error) or is_held_up(error):
                self._worker.outages.failed(error)
            else:
                log.warning("a heartbeat failed", error=type(getattr(error, "orig", error)).__name__)

    def _beat(self, began: float, *, idle: bool, ending: bool) -> None:
        worker, timing = self._worker, self._worker.installation.timing
        kind, doing = DELIVERS, "ending" if ending else "parked" if idle else "delivering"
        if self._tries_suspects:
            kind, doing = MAINTAINS, TRIES_SUSPECTS
        late = timedelta(seconds=0 if idle or self._is_sweeping else self._sweep_seconds)
        self._is_sweeping = False
        asked = Asked(None if ending else LEASE, LEASE_SPAN, late)
        faults, clock = worker.host_faults, worker.installation.clock
        fault = (
            Fault(" ".join(faults.open), timedelta(seconds=began - min(faults.open.values())))
            if faults.open
            else NO_FAULT
        )
        beaten = worker.heartbeat.beat(worker.loop_engine, kind, doing, asked, clock=clock, fault=fault)
        worker.divide(beaten.others + 1)
        worker.cap_accounts(beaten.others + 1)
        worker.installation.learn(beaten.binding)
        worker.counts.clock_offset(clock.offset)
        faults.told, faults.accounts, faults.webhooks = beaten.faults, beaten.accounts, beaten.webhooks
        if beaten.has_lease:
            swept = sweep_with_lease(worker.loop_engine, worker.installation.waker, timing, worker.heartbeat, SMALL)
            self._is_sweeping = not swept.is_all
        now = monotonic()
        # From the end of this turn, so that the lease has ended by then.
        self.due_at = now + (REST * (now - began) if self._is_sweeping else min(BEAT_EVERY, self._sweep_seconds))
        worker.next_beat = self.due_at
