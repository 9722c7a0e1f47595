"""Event types, and which subscriptions take them: exact names and prefixes of whole dotted parts."""

import re

ALL = "*"
MAX_PARTS = 8
MAX_LENGTH = 200

_PART = r"[A-Za-z0-9_-]+"
PATTERN = rf"{_PART}(?:\.{_PART}){{0,{MAX_PARTS - 1}}}"
_TYPE = re.compile(PATTERN)

RULE = f"must be dotted parts of letters, digits, '_' and '-': at most {MAX_PARTS} parts, {MAX_LENGTH} characters"


def is_event_type(name: object) -> bool:
    """Whether this can be an event's type, or the prefix that a webhook subscribes to."""
    return isinstance(name, str) and len(name) <= MAX_LENGTH and _TYPE.fullmatch(name) is not None


def subscriptions_taking(event_type: str) -> list[str]:
    """Every subscription that takes an event of this type: `*`, each prefix of whole parts, the type itself."""
    parts = event_type.split(".")
    return [ALL, *(".".join(parts[:length]) for length in range(1, len(parts) + 1))]
