"""Makes the callback: the exact bytes and headers a receiver gets, from an event and a webhook's contract. Pure."""

import json
from collections.abc import Sequence, Set
from functools import lru_cache
from urllib.parse import quote, urlencode

from dispatcher.events.raw_json import compact, object_members
from dispatcher.masking.answers import secret_forms
from dispatcher.masking.forms import Form
from dispatcher.masking.urls import MASK
from dispatcher.transport.exchange import CONNECT_SECONDS, MIN_CONNECT_SECONDS, MIN_SECONDS, Request
from dispatcher.version import USER_AGENT
from dispatcher.webhooks.bodies import body_of
from dispatcher.webhooks.contract import Method
from schedules.timing import Timing
from workers.callbacks.targets import Target
from workers.claims.claims import Claim

MAX_GET_URL = 8 * 1024
# What cannot fit into a URL is refused before it is taken apart: no pause follows, and the loop has others' to send.
_MAX_GET_DATA = 6 * MAX_GET_URL  # an escape of JSON has six bytes for a character
_MAX_GET_MEMBERS = MAX_GET_URL // 3  # each has a name, `=` and `&`


class RenderFailed(Exception):
    """This message cannot be rendered for this webhook; the text says why, without the message."""


def render(
    claims: Sequence[Claim], target: Target, request_id: str, *, now: float, timing: Timing, token: str | None = None
) -> Request:
    """The request that carries these deliveries (one, or a batch), signed for `now` (Unix seconds). `token` is
    presented to the receiver. Raises RenderFailed."""
    contract, first = target.contract, claims[0]
    headers = [("User-Agent", contract.user_agent or USER_AGENT)]
    if contract.method is Method.GET:
        url, body = _with_query(target.url, first.data), None
    else:
        if not all(claim.data for claim in claims):  # a delivery was opened again at the moment of the erasure
            raise RenderFailed("the message was erased")
        url, body = target.url, body_of(claims, target, request_id)
        headers.append(("Content-Type", contract.content_type))
    if len(claims) == 1:
        headers += [
            ("Dispatcher-Event-Id", first.event_id),
            ("Dispatcher-Event-Type", first.event_type),
            ("Dispatcher-Delivery-Id", first.delivery_id),
            ("Dispatcher-Attempt", str(first.number)),
        ]
    else:
        headers.append(("Dispatcher-Batch-Size", str(len(claims))))
    headers.append(("Dispatcher-Request-Id", request_id))
    headers += target.headers
    if target.authorization is not None:
        headers.append(("Authorization", target.authorization))
    elif token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    # A batch is not a single event, so the id of its request is its message id.
    message_id = first.event_id if len(claims) == 1 else request_id
    headers += target.signer.headers(message_id, request_id, body or b"", now)
    return Request(
        id=request_id,
        method=contract.method,
        url=url,
        headers=tuple(headers),
        body=body,
        connect_timeout=timing.timeout(CONNECT_SECONDS, minimum=MIN_CONNECT_SECONDS),
        timeout=timing.timeout(contract.timeout_seconds, minimum=MIN_SECONDS),
        https_only=contract.https_only,
        account=target.account_id,
    )


def masked_headers(request: Request, target: Target) -> str:
    """The request's headers as they may be stored and shown, one `Name: value` per line."""
    own = {name for name, _ in target.headers}
    return "\n".join([f"{name}: {_masked(name, value, own)}" for name, value in request.headers])


def _masked(name: str, value: str, own: Set[str]) -> str:
    if name == "Authorization":
        return f"{value.partition(' ')[0]} {MASK}"
    return MASK if name in own else value


def secrets_in(request: Request, target: Target) -> tuple[Form, ...] | None:
    """The webhook's, and the value of the request's Authorization header behind the scheme, in all forms that must be
    removed from a stored answer; None if they are too many."""
    values = [value.partition(" ")[2] for name, value in request.headers if name == "Authorization"]
    forms = _forms(*values) if values else ()
    return None if forms is None or target.secret_values is None else target.secret_values + forms


@lru_cache(maxsize=1000)
def _forms(*values: str) -> tuple[Form, ...] | None:
    return secret_forms(values)


def _with_query(url: str, data: bytes) -> str:
    if len(data) > _MAX_GET_DATA:
        raise RenderFailed(f"the message is {len(data)} bytes long; the limit with GET is {_MAX_GET_DATA}")
    try:
        members = object_members(data.decode(), most=_MAX_GET_MEMBERS)
        pairs = [(name, _as_parameter(raw)) for name, raw in members.items()]
    except (ValueError, RecursionError):
        raise RenderFailed(
            f"with GET the message must be a JSON object of at most {_MAX_GET_MEMBERS} members"
            " that is not nested too deeply"
        ) from None
    _check_length(url, sum([len(name) + len(value) + 2 for name, value in pairs]))  # none gets shorter
    try:
        query = urlencode(pairs, quote_via=quote)
    except UnicodeEncodeError:
        raise RenderFailed("the message contains a lone surrogate, which a URL cannot carry") from None
    _check_length(url, len(query) + 1 if query else 0)
    return url + ("&" if "?" in url else "?") + query if query else url


def _check_length(url: str, more: int) -> None:
    if len(url) + more > MAX_GET_URL:
        raise RenderFailed(f"the URL with the message is longer than {MAX_GET_URL} bytes")


def _as_parameter(raw: str) -> str:
    """A string becomes its text; everything else becomes compact JSON. Numbers keep their digits."""
    if raw.startswith('"'):
        text: str = json.loads(raw)
        return text
    return compact(raw)
