"""Decides which deliveries share a request. Pure."""

from collections.abc import Iterator, Sequence

from dispatcher.webhooks.contract import DeliveryContract
from workers.claims.claims import Claim
from workers.claims.statements import BODY_CAP


def batches(claims: Sequence[Claim], contract: DeliveryContract) -> Iterator[Sequence[Claim]]:
    """Splits the claims of one webhook, in order, into one batch per request: at most `batch_size` messages and 1 MiB,
    all of one app. Deliveries that failed in a batch before share only smaller batches with each other."""
    start = size = 0
    for place, claim in enumerate(claims):
        size += len(claim.data) + 1  # the comma
        first = claims[start]
        most = min(contract.batch_size, first.batch_limit or contract.batch_size)
        full = place - start >= most or size + 1 > BODY_CAP
        if place > start and (full or (claim.app, claim.batch_limit) != (first.app, first.batch_limit)):
            yield claims[start:place]
            start, size = place, len(claim.data) + 1
    if start < len(claims):
        yield claims[start:]


def halves(claims: Sequence[Claim]) -> tuple[Sequence[Claim], Sequence[Claim]]:
    """The claims, at least two, in two parts: what fails as a whole is tried in parts, until one is alone."""
    middle = len(claims) // 2
    return claims[:middle], claims[middle:]
