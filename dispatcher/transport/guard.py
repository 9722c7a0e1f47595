"""The egress policy as transports use it: before each request, and for each address that they connect to."""

from functools import lru_cache
from time import monotonic

from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.transport.checks import Origin, split_url
from dispatcher.transport.exchange import Failure, FailureKind, Request

_KEPT_SECONDS = 60  # what is judged can change: the addresses of this machine do


class Guard:
    """What a policy refuses, as failures. Each origin is judged once a minute: the same few occur again and again."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._of_origin = lru_cache(4_096)(self._judge)

    def refuse_request(self, request: Request) -> Failure | None:
        """Checks what is known without connecting: a URL may have been registered before the policy refused it."""
        return self._of_origin(split_url(request.url).origin, request.https_only, monotonic() // _KEPT_SECONDS)

    def refuse_address(self, host: str, address: str, port: int) -> Failure | None:
        """Checks the address that a socket is about to be connected to."""
        return _failure(self._policy.refused_address(host, address, port))

    def _judge(self, origin: Origin, https_only: bool, _minute: float) -> Failure | None:
        return _failure(self._policy.refused_origin(*origin, https_only=https_only))


def _failure(reason: str | None) -> Failure | None:
    return None if reason is None else Failure(FailureKind.ADDRESS_REFUSED, reason)
