"""What the loop passes on: the deliveries of one request."""

from collections.abc import Sequence
from typing import NamedTuple

from dispatcher.transport.exchange import Exchange
from workers.callbacks.targets import Target
from workers.claims.claims import Claim
from workers.tokens.store import Token


class Batch(NamedTuple):
    """The deliveries of one request: one, or several of one webhook, while their claims last. `token` is what the
    request presents to the receiver, if the webhook uses tokens; `refused`: the request before it in the same attempt,
    whose token was refused."""

    claims: Sequence[Claim]
    target: Target
    claims_end: float  # monotonic
    token: Token | None = None
    refused: Exchange | None = None

    def once_more(self, refused: Exchange) -> "Batch":
        """For the same attempt with another token; of the refused request it keeps all but the body."""
        return self._replace(token=None, refused=refused._replace(request=refused.request._replace(body=None)))
