"""A webhook's URL: what is accepted, the form it is sent in, and the form it may be shown in."""

import re
from ipaddress import IPv6Address
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from dispatcher.errors import InvalidWebhook

MAX_URL = 2048
MASK = "***"

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_TOKEN_LIKE = re.compile(r"(?=.*\d)[A-Za-z0-9_~+=.-]{12,}|[A-Za-z0-9_~+=-]{24,}")
_KEPT_IN_PATH = "/:@!$&'()*+,;=-._~%"
_KEPT_IN_QUERY = _KEPT_IN_PATH + "?[]"


def normalise_url(url: str) -> str:
    """The URL in ASCII, ready to send: host in lower-case punycode, other characters percent-encoded.

    Raises InvalidWebhook (field `url`) for what is no plain http or https URL. The text never repeats the URL.
    """
    if not isinstance(url, str) or not 1 <= len(url) <= MAX_URL:
        raise InvalidWebhook("url", f"must have 1 to {MAX_URL} characters")
    if _FORBIDDEN.search(url):
        raise InvalidWebhook("url", "must not hold spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
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
    except UnicodeEncodeError:
        raise InvalidWebhook("url", "holds a lone surrogate") from None
    netloc = _ascii_host(parts.hostname) + (f":{port}" if port else "")
    return urlunsplit((scheme, netloc, path or "/", query, ""))


def mask_url(url: str) -> str:
    """The URL as it may be shown: values of the query and token-like parts of the path are `***`."""
    parts = urlsplit(url)
    path = "/".join(MASK if _TOKEN_LIKE.fullmatch(part) else part for part in parts.path.split("/"))
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    query = "&".join(f"{quote(name)}={MASK}" for name in names) or (MASK if parts.query else "")
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def _ascii_host(host: str | None) -> str:
    if not host:
        raise InvalidWebhook("url", "must have a host")
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError:
            address = None
        if address is None or address.scope_id is not None:
            raise InvalidWebhook("url", "has a host in brackets that is no plain IPv6 address")
        return f"[{address}]"
    try:
        encoded = host.encode("idna").decode().lower()
    except UnicodeError:
        raise InvalidWebhook("url", "has a host name that does not exist in DNS's form") from None
    if not re.fullmatch(r"[a-z0-9._-]{1,253}", encoded):
        raise InvalidWebhook("url", "has a host name that does not exist in DNS's form")
    return encoded
