"""The names of variables: which field each sets, and which are not known. Pure."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

RENAMED = {"DISPATCHER_GATE_FAILURES": "DISPATCHER_CIRCUIT_BREAKER_FAILURES"}  # old names are still read
IGNORE_UNKNOWN = "DISPATCHER_IGNORE_UNKNOWN_SETTINGS"

# Fields that a file or a credential can give, too.
SECRETS = ("database_url", "broker_url", "encryption_keys", "smtp_password", "metrics_token", "flower_password")

ADDRESSES = ("database_url", "broker_url")

_PREFIX = "DISPATCHER_"
# Where the data of a locally started engine is, and what that says of itself in its connection file.
_NO_FIELDS = frozenset({"DISPATCHER_DATA_DIR", "DISPATCHER_API_ADDRESS", "DISPATCHER_FLOWER_ADDRESS"})


def environment_name(field: str) -> str:
    """The environment variable that sets a field."""
    return field.upper() if field in ADDRESSES else f"{_PREFIX}{field.upper()}"


def file_variable(field: str) -> str:
    """The environment variable that names the file in which a secret is."""
    return f"{environment_name(field)}_FILE"


# The two addresses have names that go before the usual ones, which may be a program's own: each with the usual one.
OWN_NAMES = {
    f"{_PREFIX}{name}": name for field in ADDRESSES for name in (environment_name(field), file_variable(field))
}


def with_usual_names(given: Mapping[str, str]) -> dict[str, str]:
    """The environment, with an address that is given by a name that goes before under the usual one, and nothing else
    there: no file, say, that the usual name gives. The names that go before stay."""
    left = dict(given)
    for field in ADDRESSES:
        usual = {environment_name(field), file_variable(field)}
        if found := {OWN_NAMES[own]: left[own] for own in OWN_NAMES if OWN_NAMES[own] in usual and left.get(own)}:
            left = {name: value for name, value in left.items() if name not in usual} | found
    return left


def name_given(usual: str, given: Mapping[str, str]) -> str:
    """The name by which the environment gives an address, or its file: the one that goes before, or the usual one."""
    return next((own for own, name in OWN_NAMES.items() if name == usual and given.get(own)), usual)


def unknown_names(given: Iterable[str], fields: Iterable[str]) -> dict[str, str]:
    """The names in the environment that look like settings and are none, each with the nearest that is one, or ""."""
    known = {*map(environment_name, fields), *map(file_variable, SECRETS), *RENAMED, *OWN_NAMES, *_NO_FIELDS}
    return {
        name: _nearest(name, known)
        for name in sorted(given)
        if name.startswith(_PREFIX) and name not in {*known, *OWN_NAMES}
    }


def _nearest(name: str, known: set[str]) -> str:
    return next(iter(get_close_matches(name, sorted(known), n=1, cutoff=0.8)), "")
