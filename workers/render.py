"""Makes the callback: the exact bytes and headers a receiver gets, from an event and a webhook's contract. Pure."""

import base64
import json
from urllib.parse import quote, urlencode
from uuid import UUID

from dispatcher import __version__
from dispatcher.contracts import Envelope, Method
from dispatcher.raw_json import compact, object_members
from workers.claims import Claim
from workers.replies import Request
from workers.targets import Target

CONNECT_SECONDS = 10.0
# However much time is scaled: a busy machine must not look like a receiver that hangs.
LEAST_CONNECT_SECONDS, LEAST_SECONDS = 1.0, 2.0
MAX_GET_URL = 8 * 1024
USER_AGENT = f"Dispatcher/{__version__}"

_SECRET_HEADERS = frozenset({"authorization"})


class RenderFailed(Exception):
    """No callback can be made of this message for this webhook; says why, without the message."""


def render(claim: Claim, target: Target, request_id: UUID, *, scale: float) -> Request:
    """The request that carries this delivery now. `scale` shortens its timeouts. Raises RenderFailed."""
    contract = target.contract
    headers = [("User-Agent", contract.user_agent or USER_AGENT)]
    if contract.method is Method.GET:
        url, body = _with_query(target.url, claim.data), None
    else:
        url = target.url
        body = b"[" + claim.data + b"]" if contract.envelope is Envelope.ARRAY else claim.data
        headers.append(("Content-Type", "application/json"))
    headers += [
        ("Dispatcher-Event-Id", str(claim.event_id)),
        ("Dispatcher-Event-Type", claim.event_type),
        ("Dispatcher-Delivery-Id", str(claim.delivery_id)),
        ("Dispatcher-Attempt", str(claim.number)),
        ("Dispatcher-Request-Id", str(request_id)),
    ]
    if target.basic is not None:
        pair = f"{target.basic.username}:{target.basic.password}".encode()
        headers.append(("Authorization", f"Basic {base64.b64encode(pair).decode()}"))
    return Request(
        id=request_id,
        method=contract.method,
        url=url,
        headers=tuple(headers),
        body=body,
        connect_timeout=max(CONNECT_SECONDS * scale, LEAST_CONNECT_SECONDS),
        timeout=max(contract.timeout_seconds * scale, min(contract.timeout_seconds, LEAST_SECONDS)),
    )


def masked_headers(request: Request) -> str:
    """The request's headers as they may be kept and shown, one `Name: value` a line."""
    return "\n".join(
        f"{name}: {value.partition(' ')[0]} ***" if name.lower() in _SECRET_HEADERS else f"{name}: {value}"
        for name, value in request.headers
    )


def _with_query(url: str, data: bytes) -> str:
    try:
        members = object_members(data.decode())
    except ValueError:
        raise RenderFailed("the webhook's method is GET and the message is no JSON object") from None
    pairs = [(name, _as_parameter(raw)) for name, raw in members.items()]
    try:
        query = urlencode(pairs, quote_via=quote)
    except UnicodeEncodeError:
        raise RenderFailed("the message holds a lone surrogate, which no URL can carry") from None
    if query:
        url += ("&" if "?" in url else "?") + query
    if len(url) > MAX_GET_URL:
        raise RenderFailed(f"the URL with the message is {len(url)} bytes long, more than {MAX_GET_URL}")
    return url


def _as_parameter(raw: str) -> str:
    """A string is its text; all else is its compact JSON. Numbers keep the digits they came with."""
    value = json.loads(raw)
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return compact(raw)
    return raw
