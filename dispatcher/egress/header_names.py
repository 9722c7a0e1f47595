"""Which headers of a callback a webhook may set itself: all except those that are controlled elsewhere."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

MAX_NAME = 100

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Those that frame the message, control a connection or a proxy, or are set elsewhere in the contract.
_RESERVED = frozenset(
    {
        "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type",
        "cookie", "date", "expect", "host", "http2-settings", "keep-alive", "range", "te", "trailer",
        "transfer-encoding", "upgrade", "user-agent", "via",
    }
)  # fmt: skip
_RESERVED_BEGINNINGS = ("dispatcher-", "proxy-", "webhook-")


def refused_header(name: str) -> str | None:
    """Why a webhook may not set this header, as the end of a sentence; None if it may."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        return f"must be a header name of at most {MAX_NAME} letters, digits and hyphens"
    if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_BEGINNINGS):
        return "is a header that the engine sets itself"
    return None


def free_header(name: str) -> str:
    if reason := refused_header(name):
        raise ValueError(reason)
    return name


# How OpenAPI states the rule for names; refusals are in words.
HEADER_NAME = {"pattern": f"^{_NAME.pattern}$", "maxLength": MAX_NAME}
HeaderName = Annotated[str, AfterValidator(free_header), Field(json_schema_extra={**HEADER_NAME})]
