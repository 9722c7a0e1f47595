"""What the loop passes on: the deliveries of one request."""

from collections.abc import Sequence
from typing import NamedTuple

from workers.callbacks.targets import Target
from workers.claims.claims import Claim
from workers.tokens.store import Token


class Batch(NamedTuple):
    """The deliveries of one request: one, or several of one webhook, while their claims last. `token` is what the
    request presents to the receiver, if the webhook uses tokens; `renewed`: it is sent again because its token was
    refused."""

    claims: Sequence[Claim]
    target: Target
    claims_end: float  # monotonic
    token: Token | None = None
    renewed: bool = False
