"""The Python that runs this."""

import http.cookies
import platform
from collections.abc import Sequence

from dispatcher.diagnosis.findings import Finding, ok, warn
from dispatcher.diagnosis.running import Patient


def python(_: Patient) -> Sequence[Finding]:
    says = f"Python {platform.python_version()}"
    if not _is_old():
        return [ok(says)]
    advice = "install 3.11.10, 3.12.6, 3.13 or newer; also in each release, whose environment keeps the old one"
    return [warn(f"{says} lacks fixes of its standard library's faults, among them CVE-2024-7592", advice)]


def _is_old() -> bool:
    # Distributions mend old versions, so its number says little. The fix took this pattern out.
    return hasattr(http.cookies, "_OctalPatt")
