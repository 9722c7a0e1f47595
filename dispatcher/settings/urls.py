"""Whether the URLs of database and broker can lead to a server. What they say is told without any of it: a part that
is misread may be a password."""

import os
import re
from itertools import chain
from urllib.parse import parse_qsl, unquote

from dispatcher.broker.address import BrokerAddress, read_broker_url
from dispatcher.settings.files import check_readable
from dispatcher.settings.hosts import is_host, is_port
from dispatcher.settings.placeholders import STILL, check_secret, is_placeholder_host

# As in dispatcher/db/urls.py: scheme, login, what may be several hosts with ports, and the rest.
_PARTS = re.compile(r"([^:]+)://(?:([^:/@]*)(?::([^@]*))?@)?([^/?@]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[([^]]*)\]|([^:]*))(?::(.*))?")
_DATABASE = {"postgresql", "postgres", "postgresql+psycopg2"}
_FORM = "must be a PostgreSQL URL: postgresql://user:password@host/database"
_ESCAPE = "in user and password, write characters such as / # ? % @ as %2F %23 %3F %25 %40"
_VALUES = {
    "sslmode": "disable|allow|prefer|require|verify-ca|verify-full",
    "target_session_attrs": "any|read-write|read-only|primary|standby|prefer-standby",
    "connect_timeout": "[0-9]{1,6}",
    "tcp_user_timeout": "[0-9]{1,9}",
    "keepalives": "0|1",
    "keepalives_idle": "[0-9]{1,6}",
    "keepalives_interval": "[0-9]{1,6}",
    "keepalives_count": "[0-9]{1,6}",
}
_FILES_OF_DATABASE = frozenset({"sslrootcert", "sslcert", "sslkey"})
_FILES_OF_BROKER = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def check_database_url(url: str) -> str:
    """What follows the scheme. Raises ValueError."""
    parts = _PARTS.fullmatch(url)
    if parts is None or parts[1] not in _DATABASE:
        raise ValueError(_FORM)
    _, user, password, hosts, rest = parts.groups()
    path, _, query = rest.partition("?")
    # What should be escaped ends the host early, so the rest is found where nothing of it belongs.
    if "@" in path or "#" in rest:
        raise ValueError(f"cannot be read: {_ESCAPE}")
    if "\0" in unquote(url):
        raise ValueError("must not contain %00")
    _check_password(user, password)
    for number, host in enumerate(hosts.split(","), 1):
        _check_place(host, f"host {number}" if "," in hosts else "the host")
    _check_query(parse_qsl(query, keep_blank_values=True))
    return url.partition("://")[2]


def check_broker_url(url: str) -> BrokerAddress:
    """What it says. Raises ValueError."""
    address = read_broker_url(url)
    _check_password(address.login.username, address.login.password)
    for number, (host, port) in enumerate(address.servers, 1):
        _check_host(host, f"host {number}" if len(address.servers) > 1 else "the host")
        if not is_port(str(port)):
            raise ValueError("must have a port from 1 to 65535")
    if address.path and not os.path.isabs(address.path):  # noqa: PTH117 - a text
        raise ValueError("must have three slashes and the path of the socket: redis+socket:///run/valkey.sock")
    for name in _FILES_OF_BROKER:
        if path := address.tls.get(name):
            check_readable(str(path), f"names in {name} a file that")
    return address


def _check_password(user: str | None, password: str | None) -> None:
    for text in (unquote(user or ""), unquote(password or "")):
        if text:
            try:
                check_secret(text)
            except ValueError:
                raise ValueError(f"has a user or password that {STILL}: put the real one there") from None


def _check_place(text: str, which: str) -> None:
    found = _HOST.fullmatch(text)
    if found is None or (found[3] is not None and not (found[3] == "" or is_port(found[3]))):
        raise ValueError(f"cannot be read: what follows {which} must be `:` and a port from 1 to 65535; {_ESCAPE}")
    if host := found[1] or found[2]:
        _check_host(host, which)


def _check_host(host: str, which: str) -> None:
    if not is_host(host):
        raise ValueError(f"cannot be read: {which} is no host name or address; {_ESCAPE}")
    if is_placeholder_host(host):
        raise ValueError(f"names a host that {STILL}: put the real one there")


def _check_query(query: list[tuple[str, str]]) -> None:
    for number, (name, value) in enumerate(query, 1):
        if not _is_known(name):
            raise ValueError(f"must have only parameters that libpq knows: number {number} after the ? is none")
        if name in {"user", "password"}:
            _check_password(None, value)
        if name in _VALUES and not re.fullmatch(_VALUES[name], value):
            choices = _VALUES[name].replace("|", ", ") if "|" in _VALUES[name] else "a whole number"
            raise ValueError(f"must have a {name} that libpq knows: {choices}")
        if name in _FILES_OF_DATABASE and value not in {"", "system"}:
            check_readable(value, f"names in {name} a file that")
    hosts, ports = (chain(*(value.split(",") for key, value in query if key == name)) for name in ("host", "port"))
    for host in hosts:
        if host and not host.startswith(("/", "@")):
            _check_place(host if host.startswith("[") or host.count(":") < 2 else f"[{host}]", "the host")
    for port in ports:
        if port and not is_port(port):
            raise ValueError("must have a port from 1 to 65535")


def _is_known(parameter: str) -> bool:
    from psycopg2 import ProgrammingError  # noqa: PLC0415 - only where there are parameters
    from psycopg2.extensions import parse_dsn  # noqa: PLC0415

    try:
        parse_dsn(f"{parameter}=''")
    except ProgrammingError:
        return False
    return parameter.isidentifier()  # and not several of them
