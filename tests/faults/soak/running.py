"""One soak: a whole installation under steady load, sampled every few seconds."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from dispatcher.webhooks.registration import remove
from schedules.timing import Timing
from tests.faults.cases.load import AGAIN, MAILS, SCHEDULES, STEADY_ACCOUNTS, furnish
from tests.faults.kinds import STEADY
from tests.faults.ledgers import Role
from tests.faults.receiving_end import Mood
from tests.faults.rig import BY, Rig, running_rig
from tests.faults.soak.growth import Sample
from tests.faults.soak.sampling import Sampler

Show = Callable[[str], None]

LEASE = 120.0
TIME_SCALE = 0.1  # ten hours of retries, circuits and quiet periods in one
RATE = 100.0  # events a second
SAMPLE_SECONDS = 5.0
LOOK_SECONDS = 0.5
MOOD_SECONDS, BAD_SECONDS = 60.0, 20.0  # of each minute, the moody receiver fails for so long
MAIL_SECONDS, WEBHOOK_SECONDS = 10.0, 60.0  # between two webhooks that fail and cause a mail; until one is deleted
MAIL_WITHIN = 30.0  # of the failure
SAMPLES = "samples.jsonl"
LOG_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Soaked:
    """What was measured. `problems`: what ended, was refused or is missing."""

    samples: Sequence[Sample]
    table_of: Mapping[str, str]
    events: Mapping[float, int]
    problems: Sequence[str]


def run_soak(seconds: float, show: Show, keep: Path | None) -> Soaked:
    """Raises RuntimeError if the rig cannot be started."""
    with running_rig(lease=LEASE, time_scale=TIME_SCALE, durable=True) as rig:
        try:
            furnish(rig)
            for name in ("deliver", "upkeep", "beat", "api"):
                rig.start_node(name)
            rig.wait_until_ready()
            delay = Timing(TIME_SCALE).schedule(SCHEDULES[f"/{AGAIN}/{AGAIN}"]).delays[0]
            with (
                rig.backend(RATE, STEADY, STEADY_ACCOUNTS),
                closing(Sampler(rig, retry_after=delay.total_seconds())) as sampler,
                _kept(keep) as note,
            ):
                return _soak(Load(rig), sampler, seconds, show, note)
        finally:
            if keep is not None:
                _keep_logs(rig.folder, keep)


def _keep_logs(folder: Path, keep: Path) -> None:
    """Their ends: they have a line for each delivery."""
    for log in folder.glob("*.log"):
        with log.open("rb") as lines:
            lines.seek(-min(log.stat().st_size, LOG_BYTES), os.SEEK_END)
            (keep / log.name).write_bytes(lines.read())


@contextmanager
def _kept(folder: Path | None) -> Iterator[Callable[[Sample], None]]:
    if folder is None:
        yield lambda _: None
        return
    with (folder / SAMPLES).open("w", buffering=1) as lines:
        yield lambda sample: print(json.dumps(asdict(sample)), file=lines)


def _soak(load: "Load", sampler: Sampler, seconds: float, show: Show, note: Callable[[Sample], None]) -> Soaked:
    samples: list[Sample] = []
    began = time.monotonic()
    due = began + SAMPLE_SECONDS
    while (now := time.monotonic()) < began + seconds:
        load.go_on(now - began)
        if now >= due:
            samples.append(sampler.sample())
            note(samples[-1])
            show(progress(samples[-1], seconds))
            due += SAMPLE_SECONDS
        time.sleep(LOOK_SECONDS)
    return Soaked(samples, sampler.table_of, sampler.events, [*load.problems(), *_of_backend(sampler)])


def progress(sample: Sample, seconds: float) -> str:
    """A line that says how it goes."""
    values = sample.values
    return (
        f"{sample.at:.0f} of {seconds:.0f} s: {values['a second: events in']:.0f} events/s, "
        f"{values['a second: messages out']:.0f} messages/s, half within "
        f"{values.get('late: first attempt, half', 0) * 1000:.0f} ms, "
        f"{values['memory in all: shared once'] / 1e6:.0f} MB in all processes"
    )


def _of_backend(sampler: Sampler) -> Iterator[str]:
    yield from dict.fromkeys(sampler.lateness.errors)
    if sampler.lateness.refused:
        yield f"{sampler.lateness.refused} events were not accepted"


class Load:
    """What happens besides the steady events: a receiver that fails and recovers, and webhooks that fail from the
    start, whose contacts get a mail, and that are deleted again."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self._mood = rig, Mood.WELL
        self._failing: list[tuple[float, UUID]] = []  # when they were made
        self._expected: dict[str, float] = {}  # contact -> when its webhook failed

    def go_on(self, at: float) -> None:
        """Does what is to be done, `at` seconds after the start."""
        self._rig.look()
        mood = Mood.FAILS if at % MOOD_SECONDS >= MOOD_SECONDS - BAD_SECONDS else Mood.WELL
        if mood is not self._mood:
            self._rig.control(f"mood/{mood}")
            self._mood = mood
        if at >= len(self._expected) * MAIL_SECONDS:
            self._fail()
        while self._failing and self._failing[0][0] < time.monotonic() - WEBHOOK_SECONDS:
            remove(self._rig.installation, MAILS, self._failing.pop(0)[1], by=BY)

    def _fail(self) -> None:
        number = len(self._expected)
        contact, kind = f"soak-{number}@example.com", f"mail.{number}"
        webhook = self._rig.register(MAILS, f"/fail/{kind}", kind, contact_email=contact)
        self._rig.send(Role.TROUBLED, MAILS, kind)
        now = time.monotonic()
        self._failing.append((now, UUID(webhook)))
        self._expected[contact] = now

    def problems(self) -> Iterator[str]:
        """What went wrong so far."""
        yield from self._rig.problems
        came = {address for mail in self._rig.mails.messages for address in mail.recipients}
        for contact, failed_at in self._expected.items():
            if contact not in came and failed_at < time.monotonic() - MAIL_WITHIN:
                yield f"{contact} got no mail"
