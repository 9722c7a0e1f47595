"""What only a worker can do, tried in a process of its own: `python -P -m workers.trials`."""

import json
import subprocess
import sys
from collections.abc import Sequence

from dispatcher.diagnosis.findings import Finding, Level, fail, not_checked
from dispatcher.diagnosis.running import Patient

SECONDS = 20.0  # with its start


def claim(_: Patient) -> Sequence[Finding]:
    return _try("claim")


def mail(patient: Patient) -> Sequence[Finding]:
    if not patient.installation.settings.smtp_host:
        return [not_checked("no mail server: notices are counted, not sent")]
    return _try("mail")


def _try(name: str) -> Sequence[Finding]:
    argv = (sys.executable, "-P", "-m", "workers.trials", name)
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS, check=False)
        return [Finding(**{**one, "level": Level(one["level"])}) for one in json.loads(done.stdout)]
    except subprocess.TimeoutExpired:
        return [fail(f"took more than {SECONDS:.0f} s", "see what it waits for, then run it again")]
    except ValueError:
        return [fail("the trial could not be made", f"see what `python -P -m workers.trials {name}` says")]
