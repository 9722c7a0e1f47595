"""A URL as it may be shown, and the parts of it that may not. Pure."""

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

MASK = "***"

# Any text has these parts (RFC 3986, appendix B): scheme, slashes, user information, host, path, query, fragment.
_PARTS = re.compile(r"([^:/?#]+:)?(?:(//)(?:([^/?#]*)@)?([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)

_LEAST_TOKEN = 12  # characters
_TOKEN_LIKE = re.compile(rf"(?=.*\d)[A-Za-z0-9_~+=.-]{{{_LEAST_TOKEN},}}|[A-Za-z0-9_~+=-]{{24,}}")

_BETWEEN_TOKENS = re.compile(r"[^A-Za-z0-9_~+=.-]+")


def mask_url(url: str) -> str:
    """The URL as it may be shown, in its own spelling: user information, values of the query, the fragment and
    token-like parts of the path are `***`. What cannot be printed is percent-encoded, so that no terminal obeys it."""
    scheme, slashes, user, host, path, query, fragment = _parts(url)
    shown = scheme + slashes + (f"{MASK}@" if user else "") + host
    shown += "/".join(MASK if _tokens(part) else part for part in path.split("/"))
    if query:
        shown += "?" + "&".join(f"{name}={MASK}" if value else MASK for name, value in _query_parts(query))
    if fragment:
        shown += f"#{MASK}"
    return "".join(each if each.isprintable() else quote(each, errors="replace") for each in shown)


def secret_parts(url: str) -> Iterator[str]:
    """What `mask_url` hides, as it is written in the URL; also tokens in it that are percent-encoded or are between
    other characters."""
    _, _, user, _, path, query, fragment = _parts(url)
    yield from filter(None, user.split(":", 1))
    for part in dict.fromkeys(path.split("/")):
        if tokens := _tokens(part):
            yield from dict.fromkeys((part, *tokens))
    yield from dict.fromkeys(value or name for name, value in _query_parts(query))
    if fragment:
        yield fragment


def _parts(url: str) -> tuple[str, ...]:
    found = _PARTS.fullmatch(url)
    assert found is not None  # each part may be missing or take all that is left
    return found.groups("")


def _tokens(part: str) -> list[str]:
    """What looks like a token in a part of the path, percent-encoded or not."""
    if len(part) < _LEAST_TOKEN:  # a path can have a thousand parts, and a worker looks at that of each webhook
        return []
    return [text for text in _BETWEEN_TOKENS.split(unquote(part)) if _TOKEN_LIKE.fullmatch(text)]


def _query_parts(query: str) -> list[tuple[str, str]]:
    """Names and values. A part without a value may itself be a token that ends with the `=` of Base64."""
    pairs = [part.partition("=")[::2] for part in query.split("&")]
    return [(name, value if value.strip("=") else "") for name, value in pairs if name or value.strip("=")]
