"""The result of one claim, on its way into the database and the log."""

from typing import NamedTuple

from dispatcher.transport.exchange import Exchange
from workers.callbacks.targets import Target
from workers.claims.claims import Attempt, Claim
from workers.results.classify import Judgement
from workers.results.decide import Decision


class ClaimResult(NamedTuple):
    """The result of a claim. Without an exchange nothing was sent, and the attempt does not count. `messages`: how many
    its request carried; `refused`: the request before it in the same attempt."""

    claim: Claim
    decision: Decision
    target: Target | None = None
    exchange: Exchange | None = None
    judgement: Judgement | None = None
    messages: int = 1
    refused: Exchange | None = None

    @property
    def attempt(self) -> Attempt:
        return self.claim.attempt
