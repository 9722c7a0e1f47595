"""What the broker's URL says: where the broker is, who logs in there, and how TLS is checked. Pure.

There are four forms, which are Kombu's:

    redis://user:password@host:6379/0
    rediss://user:password@host:6379/0?ssl_ca_certs=FILE
    redis+socket://user:password@/path/of/socket?virtual_host=0
    sentinel://user:password@host:26379;sentinel://host:26379/0?master_name=NAME&sentinel_password=PASSWORD
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

_T = TypeVar("_T")

FORMS = "redis://, rediss://, redis+socket:// or sentinel://"

_PORTS = {"redis": 6379, "rediss": 6379, "redis+socket": 0, "sentinel": 26379}
_OTHER_NAMES = {
    "unix": "redis+socket:///path",
    "redis+unix": "redis+socket:///path",
    "redis+sentinel": "sentinel://host:26379?master_name=NAME",
    "valkey": "redis://",
    "valkeys": "rediss://",
}
_TLS = frozenset(
    f"ssl_{name}"
    for name in ("ca_certs", "ca_path", "certfile", "keyfile", "password", "cert_reqs", "check_hostname", "ciphers")
)
_SENTINEL = frozenset({"master_name", "sentinel_username", "sentinel_password"})
_KNOWN = {"redis": _TLS, "rediss": _TLS, "redis+socket": frozenset({"virtual_host"}), "sentinel": _TLS | _SENTINEL}
# For a client, "optional" is the same: the server always shows a certificate.
_CHECKS = {"required": "required", "optional": "required", "none": "none"}


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in. Neither: no login."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def in_url(self) -> str:
        """The login as it stands in a URL, with its @."""
        if not (self.username or self.password):
            return ""
        return f"{quote(self.username or '', safe='')}:{quote(self.password or '', safe='')}@"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is: at one of `servers`, or at the socket `path`, or, if there is a `master`, where the
    sentinels at `servers` say that this one is. `tls` has the driver's names; it is empty without TLS, and goes for
    sentinels, too."""

    servers: tuple[tuple[str, int], ...]
    path: str
    database: int
    login: Login
    tls: Mapping[str, str | bool] = field(repr=False)
    master: str
    sentinel_login: Login

    @property
    def place(self) -> str:
        """For people."""
        return self.path or ", ".join(f"{host}:{port}" for host, port in self.servers)

    @property
    def is_unverified(self) -> bool:
        """TLS without looking at whose certificate it is."""
        return bool(self.tls) and (self.tls["ssl_cert_reqs"] == "none" or self.tls.get("ssl_check_hostname") is False)

    @property
    def kombu_url(self) -> str:
        """The same for Kombu, without parameters. Kombu goes from one sentinel's URL to the next, so each says it
        all."""
        login = self.login.in_url()
        if self.path:
            return f"redis+socket://{login}{quote(self.path)}?virtual_host={self.database}"
        scheme = "sentinel" if self.master else "rediss" if self.tls else "redis"
        hosts = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.servers)
        return ";".join(f"{scheme}://{login}{host}/{self.database}" for host in hosts)


def read_broker_url(url: str) -> BrokerAddress:
    """Raises ValueError, which says what is wrong without the URL."""
    scheme = url.partition("://")[0]
    if scheme in _OTHER_NAMES and "://" in url:
        raise ValueError(f"must begin with {FORMS}: what {scheme}:// stands for is {_OTHER_NAMES[scheme]} here")
    if scheme not in _PORTS or "://" not in url:
        raise ValueError(f"must be a Redis-protocol URL, which begins with {FORMS}")
    parts = [_read_one(one, scheme) for one in (re.split(r";(?=sentinel://)", url) if scheme == "sentinel" else [url])]
    login = _same((part.login for part in parts if part.login != Login()), Login(), "login")
    path = _same((part.path for part in parts if part.path), "", "database")
    query = _same((part.query for part in parts if part.query), {}, "parameters")
    if unknown := query.keys() - _KNOWN[scheme]:
        shown = [name for name in sorted(unknown) if name in _TLS | _SENTINEL | {"virtual_host"}]
        raise ValueError(f"has a parameter that {scheme}:// does not know{f': {shown[0]}' if shown else ''}")
    if scheme == "sentinel" and not query.get("master_name"):
        raise ValueError("must name the master that the sentinels watch: sentinel://host:26379/0?master_name=NAME")
    socket = path if scheme == "redis+socket" else ""
    return BrokerAddress(
        servers=() if socket else tuple(part.server for part in parts),
        path=socket,
        database=_database(query.get("virtual_host", "") if socket else path.removeprefix("/")),
        login=login,
        tls=_tls(scheme, query),
        master=query.get("master_name", ""),
        sentinel_login=Login(query.get("sentinel_username"), query.get("sentinel_password")),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    server: tuple[str, int]
    login: Login
    path: str
    query: Mapping[str, str]


def _read_one(url: str, scheme: str) -> _Part:
    try:
        parts = urlsplit(f"//{url.partition('://')[2]}")
        port = _PORTS[scheme] if parts.port is None else parts.port
    except ValueError:
        parts, port = None, 0
    # What should be escaped ends the host early, so the rest is found where nothing of it belongs.
    if parts is None or parts.fragment or "@" in parts.path:
        raise ValueError(
            "cannot be read: in user and password, write characters such as / # ? % @ as %2F %23 %3F %25 %40"
        )
    if scheme == "redis+socket" and (parts.hostname or parts.path in {"", "/"}):
        raise ValueError("must have three slashes and the path of the socket: redis+socket:///run/valkey.sock")
    if re.search(r"[;,]", parts.hostname or ""):
        raise ValueError("can name several servers only for Sentinel: sentinel://host:26379;sentinel://host:26379")
    login = Login(unquote(parts.username or "") or None, unquote(parts.password or "") or None)
    host = unquote(parts.hostname or "") or "127.0.0.1"
    path = unquote(parts.path) if parts.path != "/" else ""
    return _Part((host, port), login, path, dict(parse_qsl(parts.query, keep_blank_values=True)))


def _same(found: Iterable[_T], otherwise: _T, what: str) -> _T:
    """What one or several sentinels' URLs say, if they do not contradict one another."""
    first, *others = [*found] or [otherwise]
    if any(other != first for other in others):
        raise ValueError(f"must give the same {what} for all sentinels, or give it once")
    return first


def _database(text: str) -> int:
    if not re.fullmatch(r"[0-9]{0,6}", text):
        raise ValueError("must end with the number of a database: redis://host:6379/0")
    return int(text or 0)


def _tls(scheme: str, query: Mapping[str, str]) -> dict[str, str | bool]:
    """What is said with `ssl_...`, which stands for TLS with any scheme. Where nothing else is said, the certificate is
    checked, and whether it is the host's."""
    given: dict[str, str | bool] = {name: value for name, value in query.items() if name in _TLS}
    if scheme != "rediss" and not given:
        return {}
    check = str(given.get("ssl_cert_reqs", "required")).lower().removeprefix("cert_")
    if check not in _CHECKS:
        raise ValueError("must say ssl_cert_reqs=required (the default) or ssl_cert_reqs=none")
    if "ssl_check_hostname" in given:
        if (named := str(given["ssl_check_hostname"]).lower()) not in {"true", "false"}:
            raise ValueError("must say ssl_check_hostname=true (the default) or ssl_check_hostname=false")
        given["ssl_check_hostname"] = named == "true"
    return {**given, "ssl_cert_reqs": _CHECKS[check]}
