"""`python -m workers.trials claim|mail`: what `dispatcher doctor` has tried as a worker does it. It prints findings as
JSON, and nothing else."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from time import monotonic

from dispatcher.db.engines import Limits, make_engine
from dispatcher.diagnosis.findings import Finding, Level, fail, not_checked, ok, within
from dispatcher.diagnosis.running import Patient, examined
from dispatcher.errors import ConfigurationError
from dispatcher.installation import Installation
from dispatcher.settings import read_settings
from workers.claims.claims import Claimer
from workers.claims.concurrency import Rooms
from workers.notices.mailer import Mailer

SLOW_CLAIM = 0.25, 2.0  # seconds
_SECONDS = 4.0  # for a step


def claim(patient: Patient) -> Sequence[Finding]:
    """Claims what one request would carry, as a loop does, and takes it back: what others claim meanwhile is not
    touched, and what this one held for a moment, they find at their next turn."""
    settings = patient.installation.settings
    engine = make_engine(
        settings.database_url.get_secret_value(),
        application_name="dispatcher doctor",
        pooler=settings.database_pooler,
        plan_once=True,
        limits=Limits(_SECONDS, lock=0.2),
        most_connections=0,
    )
    try:
        with engine.connect() as connection:
            took = []
            for _ in range(2):  # the first one is planned, too
                began = monotonic()
                claimed = Claimer().claim(connection, Rooms(), 1)
                took.append(monotonic() - began)
                connection.rollback()
    finally:
        engine.dispose()
    return [judge(min(took), claimed.ready)]


def judge(seconds: float, ready: bool) -> Finding:
    """What the time of a claim means; `ready`: something was."""
    says = f"a claim takes {seconds * 1000:.0f} ms" + ("" if ready else "; nothing is ready")
    level = within(seconds, *SLOW_CLAIM)
    if level is Level.OK:
        return ok(says)
    return Finding(
        level, says, "look for an old snapshot (`snapshot`), for dead rows (`bloat`), and for the disk's load"
    )


def mail(patient: Patient) -> Sequence[Finding]:
    settings = patient.installation.settings
    failure = Mailer(settings, step_timeout=_SECONDS).try_login()
    place = f"{settings.smtp_host}:{settings.smtp_port}"
    if failure is not None:
        advice = "see DISPATCHER_SMTP_HOST and what follows it in `dispatcher settings`; notices are tried for 24 hours"
        return [fail(failure.detail, advice, where=place)]
    as_whom = "and lets us log in" if settings.smtp_username else "without a login"
    return [ok(f"{place} answers {as_whom} (security: {settings.smtp_security}); nothing was sent")]


TRIALS: Mapping[str, Callable[[Patient], Sequence[Finding]]] = {"claim": claim, "mail": mail}


def main() -> None:
    try:
        installation = Installation(read_settings())
    except ConfigurationError:
        found: Sequence[Finding] = [not_checked("the settings are wrong")]
    else:
        found = examined(TRIALS[sys.argv[1]], Patient(installation))
        installation.close()
    sys.stdout.write(json.dumps([asdict(one) for one in found]))


if __name__ == "__main__":
    main()
