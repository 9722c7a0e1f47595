"""The URL verification: an empty batch is sent to a webhook's URL before the webhook is made or changed."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from threading import Lock
from uuid import UUID

from dispatcher.accounts.fair_turns import most_for_one
from dispatcher.db.clock import DatabaseClock
from dispatcher.errors import AccountAtLimit, TooBusy, UrlVerificationFailed
from dispatcher.installation import Installation
from dispatcher.receiver_auth.credentials import ClientCredentials, header_value
from dispatcher.receiver_auth.token_request import read_answer, token_request
from dispatcher.signing.signer import Signer
from dispatcher.transport.choice import new_transport
from dispatcher.transport.exchange import CONNECT_SECONDS, Failure, Reply, Request
from dispatcher.transport.port import Transport
from dispatcher.transport.told import told_detail
from dispatcher.version import USER_AGENT
from dispatcher.webhooks.contract import DeliveryContract, Envelope, Method
from dispatcher.webhooks.secrets import WebhookSecrets
from schedules.timing import REAL_TIME

SECONDS = 30.0  # receivers built for BulkSMS may take so long
AT_ONCE = 16  # in this process: each holds a thread of the API, which has 40, for as long as it lasts
ACCOUNT_AT_ONCE = 4  # of one account: URLs that hang must not keep others from making webhooks
BODY = b"[]"

_under_way: Counter[UUID] = Counter()  # by account
_counting = Lock()


def takes_url_verification(contract: DeliveryContract) -> bool:
    """Whether an empty batch looks like the callbacks of this contract: an array in a body."""
    return contract.envelope is Envelope.ARRAY and contract.method is not Method.GET


def try_url(
    url: str, contract: DeliveryContract, secrets: WebhookSecrets, installation: Installation, account: UUID
) -> str:
    """Sends `[]` as a callback would be sent: with the same egress policy, headers, authorization and signatures.
    Returns the status and its phrase if a 2xx comes back within 30 s. Raises UrlVerificationFailed with what came back
    instead, AccountAtLimit or TooBusy if too many verifications are running, and ConfigurationError if the settings
    give no transport."""
    with _slot(account):
        transport = new_transport(installation.settings, capacity=1)
        try:
            outcome = _try(transport, url, contract, secrets, installation.clock)
        finally:
            transport.close()
    match outcome:
        case Reply(status=status):
            answered = f"{status} - {_phrase(status)}"
            if 200 <= status <= 299:
                return answered
            raise UrlVerificationFailed(answered, answered)
        case Failure(kind, detail):
            raise UrlVerificationFailed(told_detail(kind, detail), detail)


@contextmanager
def _slot(account: UUID) -> Iterator[None]:
    with _counting:
        free, own = AT_ONCE - _under_way.total(), _under_way[account]
        if own >= ACCOUNT_AT_ONCE:
            raise AccountAtLimit(
                f"{ACCOUNT_AT_ONCE} URLs of this account are being verified, the most at once for one account: try "
                "again when one has ended"
            )
        if free <= 0 or own >= most_for_one(free + own):
            raise TooBusy(
                f"{AT_ONCE} URLs can be verified at once for all accounts, and none of them is left for this one: try "
                "again later"
            )
        _under_way[account] += 1
    try:
        yield
    finally:
        with _counting:
            _under_way[account] -= 1
            if not _under_way[account]:
                del _under_way[account]


def _try(
    transport: Transport, url: str, contract: DeliveryContract, secrets: WebhookSecrets, clock: DatabaseClock
) -> Reply | Failure:
    authorization = header_value(secrets.authorization)
    if isinstance(secrets.authorization, ClientCredentials):
        # Only for this request: the workers will fetch their own token once the webhook exists.
        asked = token_request(secrets.authorization, clock.new_id_text(), REAL_TIME)
        token = read_answer(_send(transport, asked._replace(https_only=contract.https_only)))
        if isinstance(token, Failure):
            return token
        authorization = f"Bearer {token.value}"
    return _send(transport, _request(url, contract, secrets, authorization, clock))


def _request(
    url: str, contract: DeliveryContract, secrets: WebhookSecrets, authorization: str | None, clock: DatabaseClock
) -> Request:
    request_id = clock.new_id_text()
    headers = [
        ("User-Agent", contract.user_agent or USER_AGENT),
        ("Content-Type", contract.content_type),
        ("Dispatcher-Request-Id", request_id),
        *secrets.headers.items(),
    ]
    if authorization is not None:
        headers.append(("Authorization", authorization))
    headers += Signer(secrets, contract).headers(request_id, request_id, BODY, clock().timestamp())
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


def _send(transport: Transport, request: Request) -> Reply | Failure:
    transport.send(request)
    while not (ended := transport.wait(1.0)):
        pass  # the transport keeps the deadline
    return ended[0].outcome


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "an unknown status"
