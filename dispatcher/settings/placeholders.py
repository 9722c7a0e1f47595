"""Values that were left in place of a real one. Pure."""

import re

_SECRET = re.compile(
    r"PASSWORD|SECRET|<.*>|\$\{.*\}|\$\(.*\)|\{\{.*\}\}|\*{3,}|\.{3,}"
    r"|(?i:((please|change|replace|me|it|this|now)[-_ ]?){2,}|(your|my)[-_ ]?(secret|password)([-_ ]?here)?|placeholder"
    r"|to[-_ ]?do|x{3,})"
)
_HOST = re.compile(r"(.+\.)?(example(\.(com|net|org))?|your\.domain|invalid)\.?", re.IGNORECASE)

STILL = "is still a placeholder"


def check_secret(text: str) -> None:
    """Raises ValueError for what stands for a secret."""
    if _SECRET.fullmatch(text.strip()):
        raise ValueError(f"{STILL}: put the real one there")


def is_placeholder_host(host: str) -> bool:
    """Whether no host can have this name: it is reserved for documentation."""
    return _HOST.fullmatch(host) is not None
