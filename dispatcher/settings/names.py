"""The names of variables: which field each sets, and which are not known. Pure."""

from collections.abc import Iterable
from difflib import get_close_matches

RENAMED = {"DISPATCHER_GATE_FAILURES": "DISPATCHER_CIRCUIT_BREAKER_FAILURES"}  # old names are still read
IGNORE_UNKNOWN = "DISPATCHER_IGNORE_UNKNOWN_SETTINGS"

# Fields that a file or a credential can give, too.
SECRETS = ("database_url", "broker_url", "encryption_keys", "smtp_password", "metrics_token", "flower_password")

_PREFIX = "DISPATCHER_"
# Where the data of a locally started engine is, and what that says of itself in its connection file.
_NO_FIELDS = frozenset({"DISPATCHER_DATA_DIR", "DISPATCHER_API_ADDRESS", "DISPATCHER_FLOWER_ADDRESS"})


def environment_name(field: str) -> str:
    """The environment variable that sets a field."""
    return field.upper() if field in {"database_url", "broker_url"} else f"{_PREFIX}{field.upper()}"


def file_variable(field: str) -> str:
    """The environment variable that names the file in which a secret is."""
    return f"{environment_name(field)}_FILE"


def unknown_names(given: Iterable[str], fields: Iterable[str]) -> dict[str, str]:
    """The names in the environment that look like settings and are none, each with the nearest that is one, or ""."""
    known = {*map(environment_name, fields), *map(file_variable, SECRETS), *RENAMED, *_NO_FIELDS}
    return {name: _nearest(name, known) for name in sorted(given) if name.startswith(_PREFIX) and name not in known}


def _nearest(name: str, known: set[str]) -> str:
    if (without := name.removeprefix(_PREFIX)) in known:
        return without
    return next(iter(get_close_matches(name, sorted(known), n=1, cutoff=0.8)), "")
