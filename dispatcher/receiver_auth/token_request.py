"""The request to a token server, and what the answer means (RFC 6749, 4.4 and 5.1). Pure."""

import json
from dataclasses import dataclass, field
from math import isnan
from typing import Any, assert_never
from urllib.parse import quote_plus, urlencode

from dispatcher.receiver_auth.credentials import Basic, ClientCredentials, TokenRequest, basic_value
from dispatcher.transport.exchange import (
    CONNECT_SECONDS,
    MIN_CONNECT_SECONDS,
    MIN_SECONDS,
    Failure,
    FailureKind,
    Reply,
    Request,
)
from dispatcher.transport.told import no_answer_for_token
from dispatcher.version import USER_AGENT
from schedules.timing import Timing

FETCH_SECONDS = 20.0  # for the whole answer; deliveries wait for it while their claims last
MAX_SECONDS = 3600.0  # the longest that a token is kept, whatever its server says
# For a server that does not say how long a token lasts, which RFC 6749 allows: short enough for nearly all of them. A
# token that ends earlier costs one refused request and a new token.
DEFAULT_SECONDS = 300.0
MAX_CHARACTERS = 8 * 1024
_OK = 200


@dataclass(frozen=True, slots=True)
class Issued:
    """A token from its server, and how many seconds it lasts, counted from the answer."""

    value: str = field(repr=False)
    seconds: float


def token_request(credentials: ClientCredentials, request_id: str, timing: Timing) -> Request:
    """The request that fetches a token."""
    form = {"grant_type": "client_credentials"}
    if credentials.scope is not None:
        form["scope"] = credentials.scope
    if credentials.response_type is not None:
        form["response_type"] = credentials.response_type
    headers = [
        ("User-Agent", USER_AGENT),
        ("Accept", "application/json"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ]
    match credentials.token_request:
        case TokenRequest.BASIC:
            # Encoded like a form before they become Basic, as RFC 6749, 2.3.1 requires: a server that follows it would
            # read a plain "+" as a space. What needs no encoding stays the same; for a server that does not decode,
            # there is TokenRequest.FORM.
            client_id, secret = quote_plus(credentials.client_id), quote_plus(credentials.client_secret)
            headers.append(("Authorization", basic_value(Basic(client_id, secret))))
        case TokenRequest.FORM:
            form |= {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
        case _:
            assert_never(credentials.token_request)
    return Request(
        id=request_id,
        method="POST",
        url=credentials.endpoint,
        headers=tuple(headers),
        body=urlencode(form).encode(),
        connect_timeout=timing.timeout(CONNECT_SECONDS, minimum=MIN_CONNECT_SECONDS),
        timeout=timing.timeout(FETCH_SECONDS, minimum=MIN_SECONDS),
    )


def read_answer(outcome: Reply | Failure) -> Issued | Failure:
    """The token in an answer, or why there is none, without quoting the answer. `NOT_SENT` is returned as it is: the
    server was not asked."""
    match outcome:
        case Failure(FailureKind.NOT_SENT):
            return outcome
        case Failure(kind):
            return _no_token(no_answer_for_token(kind), kind)
        case Reply(status=status) if status != _OK:
            return _no_token(f"the token server answered {status}")
        case Reply(body_cut=True):
            return _no_token("the token server's answer is too large")
        case Reply(body=body):
            return _read_document(body) or _no_token("the token server's answer holds no token")
        case _:
            assert_never(outcome)


def _no_token(why: str, cause: FailureKind | None = None) -> Failure:
    return Failure(FailureKind.TOKEN, why, cause)


def _read_document(body: bytes) -> Issued | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    value, kind = document.get("access_token"), document.get("token_type", "bearer")
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_CHARACTERS:
        return None
    if not all("!" <= character <= "~" for character in value):
        return None
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    return Issued(value, _seconds(document.get("expires_in")))


def _seconds(given: Any) -> float:
    """Some servers send the number as a string. Anything that is not a number counts as not given."""
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) <= len("9999999999"):
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return DEFAULT_SECONDS
    seconds = float(min(max(given, 0), MAX_SECONDS))
    return DEFAULT_SECONDS if isnan(seconds) else seconds
