"""A webhook's URL: what is accepted, the form it is sent in, and the form it may be shown in."""

import re
from ipaddress import IPv6Address
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from dispatcher.egress.address_policy import is_address, is_name
from dispatcher.errors import InvalidWebhook

MAX_URL = 2048
MASK = "***"

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_BRACKETED = re.compile(r"\[[^\[\]]+\](:[0-9]*)?")
# Any text has these parts (RFC 3986, appendix B): scheme, slashes, user information, host, path, query, fragment.
_PARTS = re.compile(r"([^:/?#]+:)?(?:(//)(?:([^/?#]*)@)?([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_TOKEN_LIKE = re.compile(r"(?=.*\d)[A-Za-z0-9_~+=.-]{12,}|[A-Za-z0-9_~+=-]{24,}")
_BETWEEN_TOKENS = re.compile(r"[^A-Za-z0-9_~+=.-]+")
_KEPT_IN_PATH = "/:@!$&'()*+,;=-._~%"
_KEPT_IN_QUERY = _KEPT_IN_PATH + "?[]"


def normalise_url(url: str) -> str:
    """The URL in ASCII, ready to send: host in lower-case punycode, other characters percent-encoded.

    Raises InvalidWebhook (field `url`) for what is no plain http or https URL, or has a host in a spelling that one
    program takes for a name and another for an address. The text never repeats the URL.
    """
    if not isinstance(url, str) or not 1 <= len(url) <= MAX_URL:
        raise InvalidWebhook("url", f"must have 1 to {MAX_URL} characters")
    if _FORBIDDEN.search(url):
        raise InvalidWebhook("url", "must not hold spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
        if "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc.rpartition("@")[2]):
            raise ValueError  # `urlsplit` reads over what stands beside the brackets
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
        quote(parts.fragment)  # is not sent, but kept with what was given
    except UnicodeEncodeError:
        raise InvalidWebhook("url", "holds a lone surrogate") from None
    netloc = _ascii_host(parts.hostname, bracketed="[" in parts.netloc) + (f":{port}" if port else "")
    return urlunsplit((scheme, netloc, path or "/", query, ""))


def mask_url(url: str) -> str:
    """The URL as it may be shown, in the spelling it has: user information, values of the query, the fragment and
    token-like parts of the path are `***`. What cannot be printed is percent-encoded, so that it steers nothing."""
    scheme, slashes, user, host, path, query, fragment = _parts(url)
    shown = scheme + slashes + (f"{MASK}@" if user else "") + host
    shown += "/".join(MASK if _tokens(part) else part for part in path.split("/"))
    if query:
        shown += "?" + "&".join(f"{name}={MASK}" if value else MASK for name, value in _query_parts(query))
    if fragment:
        shown += f"#{MASK}"
    return "".join(each if each.isprintable() else quote(each, errors="replace") for each in shown)


def secret_parts(url: str) -> list[str]:
    """What `mask_url` does not show, as it stands in the URL; and tokens in there that are written otherwise, or stand
    among other characters."""
    _, _, user, _, path, query, fragment = _parts(url)
    in_path = [[part, *_tokens(part)] for part in path.split("/") if _tokens(part)]
    in_query = [value or name for name, value in _query_parts(query)]
    found = [*user.split(":", 1), *(text for texts in in_path for text in texts), *in_query, fragment]
    return [text for text in dict.fromkeys(found) if text]


def _parts(url: str) -> tuple[str, ...]:
    found = _PARTS.fullmatch(url)
    assert found is not None  # each part may be missing or take all that is left
    return found.groups("")


def _tokens(part: str) -> list[str]:
    """What looks like a token in a part of the path, whatever of it is percent-encoded."""
    return [text for text in _BETWEEN_TOKENS.split(unquote(part)) if _TOKEN_LIKE.fullmatch(text)]


def _query_parts(query: str) -> list[tuple[str, str]]:
    """Names and values. What has no value may be a token itself, with the `=` at its end that Base64 has."""
    pairs = [part.partition("=")[::2] for part in query.split("&")]
    return [(name, value if value.strip("=") else "") for name, value in pairs if name or value.strip("=")]


def _ascii_host(host: str | None, *, bracketed: bool) -> str:
    if not host:
        raise InvalidWebhook("url", "must have a host")
    if bracketed:
        address = _ipv6(host)
        if address is None:
            raise InvalidWebhook("url", "has a host in brackets that is no plain IPv6 address")
        return f"[{address}]"
    encoded = host.lower() if host.isascii() else _punycode(host)
    if encoded is None or not (is_name(encoded) or (host.isascii() and is_address(encoded))):
        raise InvalidWebhook("url", "has a host that is neither a name of DNS nor an IP address in its usual form")
    return encoded


def _ipv6(text: str) -> IPv6Address | None:
    try:
        address = IPv6Address(text)
    except ValueError:
        return None
    return address if address.scope_id is None else None


def _punycode(host: str) -> str | None:
    import idna  # noqa: PLC0415 - workers, which take no URLs in, have no memory for its tables

    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode()
    except UnicodeError:
        return None
