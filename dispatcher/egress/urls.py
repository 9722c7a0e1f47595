"""A webhook's URL: what is accepted, and the form it is sent in. Pure."""

import re
from ipaddress import IPv6Address
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from dispatcher.egress.address_policy import is_address, is_name
from dispatcher.errors import InvalidWebhook

MAX_URL = 2048

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_BRACKETED = re.compile(r"\[[^\[\]]+\](:[0-9]*)?")
_KEPT_IN_PATH = "/:@!$&'()*+,;=-._~%"
_KEPT_IN_QUERY = _KEPT_IN_PATH + "?[]"
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def normalise_url(url: str) -> str:
    """The URL in ASCII, ready to send: host in lower-case punycode, other characters percent-encoded.

    Raises InvalidWebhook (field `url`) for anything but a plain http or https URL, and for a host that one program
    takes for a name and another for an address. The error's text never repeats the URL.
    """
    if not isinstance(url, str) or not 1 <= len(url) <= MAX_URL:
        raise InvalidWebhook("url", f"must have 1 to {MAX_URL} characters")
    if _FORBIDDEN.search(url):
        raise InvalidWebhook("url", "must not hold spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
        if "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc.rpartition("@")[2]):
            raise ValueError  # `urlsplit` ignores what is beside the brackets
    except ValueError:
        raise InvalidWebhook("url", "is not a URL: host or port cannot be read") from None
    scheme = parts.scheme.lower()
    if scheme not in {"http", "https"}:
        raise InvalidWebhook("url", "must begin with http:// or https://")
    if "@" in parts.netloc:
        raise InvalidWebhook("url", "must not hold a user name or password: set HTTP Basic authorization instead")
    if port == 0 or parts.netloc.endswith(":"):
        raise InvalidWebhook("url", "must have a port from 1 to 65535, or none")
    try:
        path, query = quote(parts.path, safe=_KEPT_IN_PATH), quote(parts.query, safe=_KEPT_IN_QUERY)
        quote(parts.fragment)  # not sent, but stored with the URL as given
    except UnicodeEncodeError:
        raise InvalidWebhook("url", "holds a lone surrogate") from None
    netloc = _ascii_host(parts.hostname, bracketed="[" in parts.netloc) + (f":{port}" if port else "")
    return urlunsplit((scheme, netloc, path or "/", query, ""))


def comparable_url(called: str) -> str:
    """One form for all spellings of a URL that are equivalent by RFC 3986, 6.2.2 and 6.2.3: without default port, dot
    segments and needless escapes. It is only compared, never called. `called` is what `normalise_url` returns."""
    parts = urlsplit(called)
    netloc = parts.netloc.removesuffix(_DEFAULT_PORTS[parts.scheme])
    path = _without_dot_segments(_with_few_escapes(parts.path))
    return urlunsplit((parts.scheme, netloc, path, _with_few_escapes(parts.query), ""))


def _with_few_escapes(text: str) -> str:
    def shortest(escaped: re.Match[str]) -> str:
        character = unquote(escaped[0], "latin-1")
        return character if _UNRESERVED.fullmatch(character) else escaped[0].upper()

    return _ESCAPED.sub(shortest, text)


def _without_dot_segments(path: str) -> str:
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")  # a folder, with the slash at its end
    return "/" + "/".join(kept)


def _ascii_host(host: str | None, *, bracketed: bool) -> str:
    if not host:
        raise InvalidWebhook("url", "must have a host")
    if bracketed:
        address = _ipv6(host)
        if address is None:
            raise InvalidWebhook("url", "has a host in brackets that is not a plain IPv6 address")
        return f"[{address}]"
    encoded = host.lower() if host.isascii() else _punycode(host)
    if encoded is None or not (is_name(encoded) or (host.isascii() and is_address(encoded))):
        raise InvalidWebhook("url", "has a host that is neither a DNS name nor an IP address in its usual form")
    return encoded


def _ipv6(text: str) -> IPv6Address | None:
    try:
        address = IPv6Address(text)
    except ValueError:
        return None
    return address if address.scope_id is None else None


def _punycode(host: str) -> str | None:
    import idna  # noqa: PLC0415 - spares the memory for its tables in workers, which take no new URLs

    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode()
    except UnicodeError:
        return None
