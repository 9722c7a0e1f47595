"""Attempts as people are shown them: without what is masked in the message, where an answer repeats it. Pure."""

from dataclasses import replace

from dispatcher.deliveries.records import AttemptRecord
from dispatcher.masking.messages import Hidden, mask_echo


def masked(attempt: AttemptRecord, hidden: Hidden, of_batch: str) -> AttemptRecord:
    """The attempt without what is hidden in the message. The answer to a batch may repeat other messages: `of_batch`
    stands in its place."""
    if not hidden.names:
        return attempt
    if attempt.refused is not None:
        attempt = replace(attempt, refused=masked(attempt.refused, hidden, of_batch))
    headers, excerpt = attempt.answer_headers, attempt.answer_excerpt
    if attempt.of_batch:
        return replace(attempt, answer_headers=headers and of_batch, answer_excerpt=excerpt and of_batch.encode())
    cut = bool(attempt.answer_cut)
    if headers:
        headers = mask_echo(headers, hidden, cut=cut)
    if excerpt:
        text = excerpt.decode(errors="surrogateescape")
        excerpt = mask_echo(text, hidden, cut=cut).encode(errors="surrogateescape")
    return replace(attempt, answer_headers=headers, answer_excerpt=excerpt)
