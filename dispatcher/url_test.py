"""The URL test: an empty batch is sent to a webhook's URL before the webhook is made or changed."""

from http import HTTPStatus
from threading import BoundedSemaphore
from time import time

from dispatcher import __version__
from dispatcher.authorization import header_value
from dispatcher.contracts import DeliveryContract, Envelope, Method
from dispatcher.errors import TooBusy, UrlTestFailed
from dispatcher.ids import new_id_text
from dispatcher.replies import Failure, Reply, Request
from dispatcher.settings import Settings
from dispatcher.signing import Signer
from dispatcher.transport.choice import new_transport
from dispatcher.webhook_secrets import WebhookSecrets

SECONDS = 30.0  # seed 000
CONNECT_SECONDS = 10.0
AT_ONCE = 10  # each holds a thread of the API for as long as it lasts
BODY = b"[]"

_slots = BoundedSemaphore(AT_ONCE)


def takes_url_test(contract: DeliveryContract) -> bool:
    """Whether an empty batch looks like the callbacks of this contract: an array in a body."""
    return contract.envelope is Envelope.ARRAY and contract.method is not Method.GET


def try_url(url: str, contract: DeliveryContract, secrets: WebhookSecrets, settings: Settings) -> None:
    """Sends `[]` as a callback would be: the same guard, headers, authorization and signatures. Returns where a 2xx
    came back within 30 s; raises UrlTestFailed with what came back instead, and TooBusy where too many are under way.
    """
    request = _request(url, contract, secrets)
    if not _slots.acquire(blocking=False):
        raise TooBusy("too many URLs are being tested at this moment")
    try:
        outcome = _send(request, settings)
    finally:
        _slots.release()
    match outcome:
        case Reply(status=status) if 200 <= status <= 299:
            return
        case Reply(status=status):
            raise UrlTestFailed(f"{status} - {_phrase(status)}")
        case Failure(detail=detail):
            raise UrlTestFailed(detail)


def _request(url: str, contract: DeliveryContract, secrets: WebhookSecrets) -> Request:
    request_id = new_id_text()
    headers = [
        ("User-Agent", contract.user_agent or f"Dispatcher/{__version__}"),
        ("Content-Type", contract.content_type),
        ("Dispatcher-Request-Id", request_id),
        *secrets.headers.items(),
    ]
    authorization = header_value(secrets.authorization)
    if authorization is not None:
        headers.append(("Authorization", authorization))
    headers += Signer(secrets, contract).headers(request_id, request_id, BODY, time())
    return Request(
        id=request_id,
        method=contract.method,
        url=url,
        headers=tuple(headers),
        body=BODY,
        connect_timeout=CONNECT_SECONDS,
        timeout=SECONDS,
        https_only=contract.https_only,
    )


def _send(request: Request, settings: Settings) -> Reply | Failure:
    transport = new_transport(settings, capacity=1)
    try:
        transport.send(request)
        while not (ended := transport.wait(1.0)):
            pass  # the transport has the deadline
        return ended[0].outcome
    finally:
        transport.close()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "an unknown status"
