"""From the claims of one webhook to the batches that its requests carry."""

from collections.abc import Sequence

from dispatcher.states import Reason
from workers.batch import Batch
from workers.callbacks.batches import batches, halves
from workers.callbacks.targets import Target
from workers.claims.claims import Claim
from workers.results.claim_result import ClaimResult
from workers.results.decide import Discard, Release
from workers.results.judge import Judge

Prepared = tuple[list[Batch], list[ClaimResult]]  # what is to be sent, and what ended unsent


def prepare(claims: Sequence[Claim], target: Target | None, claims_end: float, most: int, judge: Judge) -> Prepared:
    """Groups claims into batches, one for each request, at most `most`. `claims_end`: when the claims expire,
    monotonic. An error of our own is narrowed down to the claim that causes it."""
    try:
        return _prepare(claims, target, claims_end, most, judge)
    except Exception as error:  # noqa: BLE001 - one claim must not end the loop again and again
        if len(claims) == 1:
            return [], [ClaimResult(claims[0], judge.decide_after(error, claims[0], target), target)]
        first, second = (prepare(half, target, claims_end, most, judge) for half in halves(claims))
        return first[0] + second[0], first[1] + second[1]


def _prepare(claims: Sequence[Claim], target: Target | None, claims_end: float, most: int, judge: Judge) -> Prepared:
    """The claim cannot know how large batches can be, so what does not fit into `most` requests is released."""
    judge.set_clock(claims[0].claimed_at)
    if target is None:  # just deleted or quarantined, or of a newer format: no claim takes it again
        return [], [ClaimResult(claim, Release()) for claim in claims]
    due = [claim for claim in claims if claim.expires_at is None or claim.expires_at > claim.claimed_at]
    late = [claim for claim in claims if claim.expires_at is not None and claim.expires_at <= claim.claimed_at]
    made = [Batch(batch, target, claims_end) for batch in batches(due, target.contract)]
    too_many = [claim for batch in made[most:] for claim in batch.claims]
    ended = [ClaimResult(claim, Discard(Reason.EXPIRED), target) for claim in late]
    return made[:most], ended + [ClaimResult(claim, Release(), target) for claim in too_many]
