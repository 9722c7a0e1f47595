"""What must hold of the attempts of one delivery: those on record, and the requests that arrived. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from dispatcher.webhooks.contract import Verdict as Judgement
from tests.faults.ledgers import Died, Received, Row, Window

SECONDS_UNDONE = 5.0  # what was sent this long before a database died may be forgotten, without an attempt on record
SECONDS_EARLY = 0.05  # the clocks that wrote the two times are read at slightly different moments
SECONDS_CROSSING = 1.0  # a request that was sent before an acknowledgement was recorded may arrive after it


def sent_again(arrivals: Sequence[Received]) -> Iterator[str]:
    """Requests that arrived more than once: an attempt is one request."""
    for request, count in Counter(one.request for one in arrivals if one.request).items():
        if count > 1:
            yield f"request {request} arrived {count} times"


def off_record(row: Row, arrivals: Sequence[Received], windows: Sequence[Window]) -> Iterator[str]:
    """Requests that arrived and that no attempt on record explains: neither its own, nor one whose outcome is unknown,
    nor a database that died and forgot it. If it forgot a claim, the same attempt is made twice, and either of the two
    requests is recorded."""
    recorded = {one.request for one in row.tried}
    unknown = row.unknown + sum(any(may_forget(window, one.at) for one in arrivals) for window in windows)
    for one in arrivals:
        if one.request is None or one.request in recorded:
            continue
        if unknown:
            unknown -= 1
        else:
            yield f"request {one.request}, attempt {one.attempt}, is not on record"


def may_forget(window: Window, at: float) -> bool:
    """Whether the fault can undo what was recorded of a request that arrived then."""
    return window.died is Died.DATABASE and window.began - SECONDS_UNDONE <= at <= window.ended


def after_acknowledgement(row: Row, arrivals: Sequence[Received]) -> Iterator[str]:
    """Requests that arrived although an acknowledgement was on record."""
    for tried in row.tried:
        if tried.verdict != Judgement.ACKNOWLEDGED:
            continue
        for one in arrivals:
            if one.request != tried.request and one.at > tried.recorded + SECONDS_CROSSING:
                yield (
                    f"request {one.request} arrived {one.at - tried.recorded:.1f} s after attempt {tried.number} was "
                    "recorded as acknowledged"
                )


def out_of_order(row: Row, arrivals: Sequence[Received], windows: Sequence[Window]) -> Iterator[str]:
    """Attempts are numbered from 1, without a gap, and arrive in that order."""
    numbers = [one.number for one in row.tried]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"attempts on record: {numbers}"
    for before, after in pairwise([one for one in arrivals if one.attempt is not None]):
        assert before.attempt is not None
        assert after.attempt is not None
        if after.request == before.request or any(may_forget(window, before.at) for window in windows):
            continue
        if after.attempt <= before.attempt:
            yield f"attempt {after.attempt} arrived after attempt {before.attempt}"


def too_early(row: Row, delays: Sequence[float]) -> Iterator[str]:
    """Retries that began before their schedule allows: `delays`, in seconds, each counted from the end of an attempt
    that failed."""
    steps = 0
    for before, after in pairwise(row.tried):
        if before.verdict != Judgement.TEMPORARY or before.began is None or before.took is None:
            continue
        delay = delays[min(steps, len(delays) - 1)]
        steps += 1
        if after.began is not None and after.began < before.began + before.took + delay - SECONDS_EARLY:
            waited = after.began - before.began - before.took
            yield f"attempt {after.number} began {waited:.2f} s after the one before, its schedule says {delay:.2f} s"
