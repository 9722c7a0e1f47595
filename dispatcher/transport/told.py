"""What customers are told of a failure. Pure.

Whether a name does not exist or leads to an address that may not be called is one and the same to them: otherwise
anybody who registers a webhook could ask for the names and addresses of the operator's network. Operators see the
truth. What the URL itself says (port, scheme, spelling) and failures at public addresses stay exact.
"""

import re

from dispatcher.egress.address_policy import ODD_HOST, PLAIN_HTTP
from dispatcher.transport.exchange import FailureKind

NOT_PUBLIC = "does not lead to a public address"

_OF_THE_URL = re.compile(rf"port [0-9]+(,|:) .*|{re.escape(PLAIN_HTTP)}|{re.escape(ODD_HOST)}")
_TOKEN_SERVER = "no answer from the token server"  # noqa: S105
_NOWHERE = {FailureKind.DNS, FailureKind.ADDRESS_REFUSED}


def no_answer_for_token(kind: FailureKind) -> str:
    """Why there is no token, if the token server gave no answer."""
    return f"{_TOKEN_SERVER} ({kind})"


_TOKEN_NOWHERE = set(map(no_answer_for_token, _NOWHERE))


def told_kind(kind: str) -> str:
    """The kind of a failure as customers see it."""
    return FailureKind.ADDRESS_REFUSED.value if kind == FailureKind.DNS else kind


def told_detail(kind: str, detail: str) -> str:
    """The text about a failure of a kind as customers see it."""
    if kind in _NOWHERE and not _OF_THE_URL.fullmatch(detail):
        return NOT_PUBLIC
    if kind == FailureKind.TOKEN and detail in _TOKEN_NOWHERE:
        return f"{_TOKEN_SERVER}: it {NOT_PUBLIC}"
    return detail


def told(kind: str | None, detail: str | None, *, exact: bool) -> tuple[str | None, str | None]:
    """Kind and text of a recorded failure, if there was one, as operators (`exact`) or customers see them."""
    if exact or kind is None:
        return kind, detail
    return told_kind(kind), told_detail(kind, detail or "")


def told_refusal(reason: str) -> str:
    """Why the egress policy refuses a URL, as the end of a sentence that begins with its field."""
    return f"may not be called: {reason}" if _OF_THE_URL.fullmatch(reason) else NOT_PUBLIC
