"""The settings: what works, and is dangerous or misses something."""

from collections.abc import Sequence

from dispatcher.diagnosis.findings import Finding, ok, warn
from dispatcher.diagnosis.running import Patient
from dispatcher.settings import environment_name


def settings(patient: Patient) -> Sequence[Finding]:
    """They could be read, so none is wrong."""
    used = patient.installation.settings
    found = [warn(text, "") for text in used.warnings]
    if used.time_scale != 1:
        found.append(_of("time_scale", "shortens all retries and timeouts", "leave it out, except for a demonstration"))
    if used.circuit_breaker_failures == 0:
        found.append(_of("circuit_breaker_failures", "is 0: no circuit opens", "set 5, unless you want that"))
    if used.smtp_username and used.smtp_security == "none":
        found.append(_of("smtp_security", "is none: the mail password is sent in clear", "set starttls or tls"))
    if not used.smtp_host:
        found.append(_of("smtp_host", "is not set: no contact hears about problems", "set the mail server"))
    elif not used.public_url:
        found.append(
            _of(
                "public_url",
                "is not set: no mail has a link to confirm or unsubscribe",
                "set its address",
            )
        )
    if not used.encryption_keys.get_secret_value():
        found.append(_of("encryption_keys", "is not set: only a producer works so", "set it for all other processes"))
    return found or [ok("all are right")]


def _of(field: str, says: str, advice: str) -> Finding:
    variable = environment_name(field)
    return warn(f"{variable} {says}", advice)
