"""DATABASE_URL, which may name several hosts, as libpq writes them or as SQLAlchemy does."""

import re
from collections.abc import Sequence
from itertools import zip_longest

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from dispatcher.errors import ConfigurationError

# Scheme, login, what may be several hosts with ports, and the rest.
_PARTS = re.compile(r"([^:]+://)([^:/@]*(?::[^@]*)?@)?([^/?@]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[^]]*\]|[^:]*)(?::([0-9]*))?")


def read_url(url: str) -> URL:
    """The URL with several hosts in its query: SQLAlchemy takes only one between login and database. Raises
    ConfigurationError."""
    try:
        read = make_url(_with_hosts_in_query(url))
        _places(read)
    except (ValueError, ArgumentError):  # its text may contain a part of the URL
        raise ConfigurationError(
            "DATABASE_URL cannot be read: what follows a host must be `:` and a number, and what is no letter or digit"
            " in a password must be escaped, such as %40 for @"
        ) from None
    return read


def places(url: str) -> str:
    """The hosts that a URL leads to, each with its port if it has one. Raises ConfigurationError."""
    return ", ".join(
        f"{f'[{host}]' if ':' in host else host or 'a local socket'}{f':{port}' if port else ''}"
        for host, port in _places(read_url(url))
    )


def _places(url: URL) -> Sequence[tuple[str, str]]:
    _, named = url.get_dialect()().create_connect_args(url)
    hosts, ports = (str(named.get(name) or "").split(",") for name in ("host", "port"))
    return list(zip_longest(hosts, ports[: len(hosts)], fillvalue=""))


def _with_hosts_in_query(url: str) -> str:
    parts = _PARTS.fullmatch(url)
    if parts is None or "," not in parts[3]:
        return url
    scheme, login, hosts, rest = parts.groups()
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    if not all(found):
        raise ValueError
    names = ",".join(host[1].strip("[]") for host in found if host)
    ports = ",".join(host[2] or "" for host in found if host)
    return f"{scheme}{login or ''}{rest}{'&' if '?' in rest else '?'}host={names}&port={ports}"
