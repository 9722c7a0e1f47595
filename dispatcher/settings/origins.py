"""Origins of web pages: scheme, host and port, as browsers compare them. Pure."""

import re

from dispatcher.settings.hosts import is_host, is_port

_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
_USUAL_PORTS = {"http": "80", "https": "443"}


def origin_of(url: str) -> str | None:
    """The origin of an http or https URL, in the one form that it has; None for any other text."""
    found = _ORIGIN.match(url.lower())
    if found is None or url[found.end() : found.end() + 1] not in {"", "/", "?", "#"} or "\\" in url:
        return None
    scheme, host, port = found["scheme"], found["host"], found["port"]
    if not is_host(host.strip("[]")) or (port is not None and not is_port(port)):
        return None
    return f"{scheme}://{host}" + (f":{int(port)}" if port and port != _USUAL_PORTS[scheme] else "")


def read_origins(text: str) -> frozenset[str]:
    """Origins from a comma-separated list. Raises ValueError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for place, part in enumerate(parts, start=1):
        if origin_of(part) is None or part.count("/") > 2 or set("?#") & set(part):
            raise ValueError(f"must be a list like https://app.example.com: entry {place} is no origin")
    return frozenset(filter(None, map(origin_of, parts)))
