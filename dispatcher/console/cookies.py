"""The cookies: who is signed in, and how somebody wants to see the pages."""

import re
from collections.abc import Mapping
from datetime import UTC, tzinfo
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from dispatcher.console.kinds import Kind
from dispatcher.web.cookie_header import cookie_header
from dispatcher.web.problems import Problem

ZONE, LOOK = "tz", "look"  # the browser's time zone; what was chosen below the pages, as `theme.zone`
_PROBE = "framed"
MAX_BYTES = 16 * 1024  # of all cookies: anybody can send them
THEMES = ("system", "light", "dark")
_YEAR = 365 * 24 * 3600
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,2}")


def read_cookies(request: Request) -> None:
    """Reads them, before anything asks for one. Nothing is unquoted: a value in quotes is none of ours. Raises Problem
    400 for more than 16 KiB, which are then not read."""
    request.state.cookies = {}
    given = cookie_header(request.scope)
    if len(given) > MAX_BYTES:
        why = (
            f"the browser sends more than {MAX_BYTES} bytes of cookies to this address: delete those of other pages of "
            "the same domain, or open this one in a private window"
        )
        raise Problem(HTTPStatus.BAD_REQUEST, why)
    parts = (part.partition("=") for part in given.decode("latin-1").split(";"))
    request.state.cookies = {name.strip(): value.strip() for name, _, value in parts if '"' not in value}


def _cookies(request: Request) -> Mapping[str, str]:
    cookies: Mapping[str, str] = request.state.cookies
    return cookies


def is_safe(request: Request) -> bool:
    """Whether what is said cannot be read on its way: over TLS, or inside this machine."""
    return request.url.scheme == "https" or is_loopback(request.url.hostname)


def is_loopback(host: str | None) -> bool:
    """Whether a browser takes this host for its own machine."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def secret_of(request: Request, kind: Kind) -> str | None:
    """What a browser shows to be known by."""
    return _cookies(request).get(_name(request, kind))


def sign_in(response: Response, request: Request, kind: Kind, secret: str, *, framed: bool = False) -> None:
    """Has the browser show the secret from now on, until it is closed. `framed`: also inside a page of another site,
    and then only inside that one."""
    _set(response, request, kind, secret, framed=framed)


def sign_out(response: Response, request: Request, kind: Kind, *, framed: bool = False) -> None:
    """Has the browser forget it."""
    _set(response, request, kind, "", framed=framed, seconds=0)


def probe(response: Response) -> None:
    """Tries whether the browser keeps cookies inside a page of another site."""
    response.set_cookie(_PROBE, "1", max_age=600, path="/", secure=True, httponly=True, samesite="none")
    _partition(response)


def was_probed(request: Request) -> bool:
    """Whether it did."""
    return _PROBE in _cookies(request)


def is_framed(request: Request) -> bool:
    """Whether a page of another site shows this one in a frame."""
    return request.headers.get("sec-fetch-dest") == "iframe"


def look_of(request: Request) -> tuple[str, str]:
    """The chosen theme, and the zone: `utc`, or that of the browser (`local`)."""
    theme, _, zone = _cookies(request).get(LOOK, "").partition(".")
    return theme if theme in THEMES else "", "utc" if zone == "utc" else "local"


def keep_look(response: Response, request: Request, theme: str, zone: str) -> None:
    """Keeps what was chosen."""
    value = f"{theme if theme in THEMES else 'system'}.{'utc' if zone == 'utc' else 'local'}"
    framed = is_framed(request)
    is_secure = framed or request.url.scheme == "https"
    response.set_cookie(
        LOOK, value, max_age=_YEAR, samesite="none" if framed else "lax", httponly=True, secure=is_secure
    )
    if framed:
        _partition(response)


def zone_of(request: Request) -> tzinfo:
    """The zone that pages are made for: the browser's, unless UTC was chosen."""
    return UTC if _cookies(request).get(LOOK, "").endswith(".utc") else zone_named(_cookies(request).get(ZONE))


@lru_cache(maxsize=1_000)
def zone_named(name: str | None) -> tzinfo:
    """The time zone of this IANA name; UTC if there is none."""
    if name is None or not _ZONE.fullmatch(name):
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # no zone, or a folder of them
        return UTC


def _set(
    response: Response, request: Request, kind: Kind, value: str, *, framed: bool, seconds: int | None = None
) -> None:
    # Browsers send `Secure` cookies over http to their own machine, but not all of them take the prefix there.
    is_https = request.url.scheme == "https"
    same_site = "none" if framed else "strict" if kind is Kind.CONSOLE else "lax"
    response.set_cookie(
        _name(request, kind),
        value,
        max_age=seconds,
        path="/",
        secure=is_https or framed,
        httponly=True,
        samesite=same_site,  # type: ignore[arg-type]
    )
    if framed:
        _partition(response)


def _partition(response: Response) -> None:
    name, cookie = response.raw_headers[-1]  # the standard library knows the attribute from 3.14 on
    response.raw_headers[-1] = (name, cookie + b"; Partitioned")


def _name(request: Request, kind: Kind) -> str:
    return f"__Host-{kind}" if request.url.scheme == "https" else str(kind)
