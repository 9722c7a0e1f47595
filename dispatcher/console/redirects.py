"""Where a page may send a browser: nowhere but to other pages of the same face. Pure."""

import re
from urllib.parse import parse_qsl, urlencode

_PATH = re.compile(r"(/(?!\.+(/|\Z))[A-Za-z0-9_.-]+)*/?")
_MOST = 2_000
# Of the pages' queries: what an address may repeat.
KNOWN = frozenset(
    {
        "account",
        "action",
        "actor",
        "app",
        "cancelled",
        "count",
        "delivered",
        "dialect",
        "discarded",
        "enabled",
        "event",
        "failures",
        "key",
        "kind",
        "outcome",
        "per_second",
        "q",
        "reason",
        "request",
        "since",
        "span",
        "state",
        "subject",
        "target",
        "type",
        "until",
        "webhook",
    }
)


def safe_path(wanted: str | None) -> str:
    """The path below the mount, with its query, if it is one that pages have; otherwise the start page's."""
    path, _, query = (wanted or "")[:_MOST].partition("?")
    if not path.startswith("/") or not _PATH.fullmatch(path):
        return "/"
    kept = [(name, value) for name, value in parse_qsl(query) if name in KNOWN]
    return f"{path}?{urlencode(kept)}" if kept else path
