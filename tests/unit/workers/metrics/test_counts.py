"""What children count, and that the page says it: sums, cumulative buckets, and no label that was not there before."""

from datetime import UTC, datetime, timedelta

import pytest

from dispatcher.ids import new_id_text
from dispatcher.metrics.family import Cells, Places, values_of
from dispatcher.metrics.page import page, shows_token
from dispatcher.states import Reason
from dispatcher.transport.exchange import Exchange, Failure, FailureKind, Reply, Request
from dispatcher.transport.failure_texts import CLOSED_WITHOUT_ANSWER, KEPT_CLOSED
from tests.each import each
from tests.exposition import Exposition, parsed
from workers.claims.claims import Claim
from workers.metrics.counts import Counts
from workers.metrics.families import DELIVERIES, FAMILIES, NOTICES_ENDED, PLACES
from workers.notices.send import Ending
from workers.results.claim_result import ClaimResult
from workers.results.counting import count_results
from workers.results.decide import Decision, Delivered, Discard, Release, Retry, RetryUnknown, Split

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def cells() -> Cells:
    return memoryview(bytearray(PLACES.size * 8)).cast("d")


def shown(*rows: Cells) -> Exposition:
    """The page of children with these numbers."""
    total = cells()
    for row in rows:
        for at, number in enumerate(row):
            total[at] += number
    return parsed(page((family, values_of(family, PLACES, total)) for family in FAMILIES).decode())


def exchange(outcome: Reply | Failure, *, began: datetime = NOW, seconds: float = 0.2) -> Exchange:
    request = Request(new_id_text(), "POST", "http://receiver.example/", (), b"", 1, 1)
    return Exchange(request, outcome, began, timedelta(seconds=seconds))


def result(decision: Decision, *, number: int = 1, waited: float = 2.0, sent: bool = True) -> ClaimResult:
    """Of a delivery whose event was enqueued so many seconds before the attempt."""
    enqueued = new_id_text(int((NOW - timedelta(seconds=waited)).timestamp() * 1e9))
    claim = Claim(
        new_id_text(), 1, new_id_text(), 1, number, 0, None, False, False, enqueued, "a", None, None, NOW, b"", NOW
    )
    return ClaimResult(claim, decision, None, exchange(Reply(200, (), b"")) if sent else None)


@each(
    "outcome, labels",
    [
        (Reply(101, (), b""), {"status": "1xx"}),
        (Reply(204, (), b""), {"status": "2xx"}),
        (Reply(302, (), b""), {"status": "3xx"}),
        (Reply(499, (), b""), {"status": "4xx"}),
        (Reply(503, (), b""), {"status": "5xx"}),
        (Reply(999, (), b""), {"status": "other"}),
        (KEPT_CLOSED, {"failure": "kept_closed"}),
        (CLOSED_WITHOUT_ANSWER, {"failure": "connection_reset"}),
        *((Failure(kind, "why"), {"failure": str(kind)}) for kind in FailureKind),
    ],
)
def test_a_request_counts_once_by_its_status_or_its_failure(outcome: Reply | Failure, labels: dict[str, str]) -> None:
    counts = Counts(cells())
    counts.request(exchange(outcome))
    page = shown(counts.cells)
    assert page.value("dispatcher_requests_total", **labels) == 1
    assert sum(sample.value for sample in page.samples if sample.name == "dispatcher_requests_total") == 1
    assert page.value("dispatcher_request_duration_seconds_sum") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("decision", "labels"),
    [
        (Delivered(), {"outcome": "delivered"}),
        (Retry(timedelta(1), 1), {"outcome": "retried"}),
        (Split(2), {"outcome": "split"}),
        (Release(), {"outcome": "released"}),
        (RetryUnknown(1), {"outcome": "released"}),
        *((Discard(reason), {"outcome": "discarded", "reason": str(reason)}) for reason in Reason),
    ],
)
def test_a_result_counts_once_by_what_became_of_the_delivery(decision: Decision, labels: dict[str, str]) -> None:
    counts = Counts(cells())
    one = result(decision)
    count_results(counts, [one], {one.attempt}, timedelta(0))
    page = shown(counts.cells)
    assert page.value("dispatcher_deliveries_total", **labels) == 1
    assert sum(sample.value for sample in page.samples if sample.name == "dispatcher_deliveries_total") == 1


def test_waiting_is_measured_from_the_enqueueing_by_the_databases_clock() -> None:
    counts = Counts(cells())
    results = [
        result(Retry(timedelta(1), 1), waited=2),
        result(Delivered(), waited=3),
        result(Delivered(), waited=400, number=4),
        result(Retry(timedelta(1), 1), waited=500, number=2),
        result(Release(), sent=False),
        result(Delivered(), waited=-70),  # another machine's clock was ahead
    ]
    count_results(counts, results, {one.attempt for one in results}, timedelta(seconds=10))
    page = shown(counts.cells)
    assert page.value("dispatcher_first_attempt_delay_seconds_count") == 3
    assert page.value("dispatcher_first_attempt_delay_seconds_sum") == pytest.approx(12 + 13, abs=0.01)
    assert page.value("dispatcher_acknowledged_delay_seconds_count") == 3
    assert page.value("dispatcher_acknowledged_delay_seconds_sum") == pytest.approx(13.2 + 410.2 + 0.2, abs=0.01)


def test_what_another_loop_has_taken_over_is_lost_and_nothing_else() -> None:
    counts = Counts(cells())
    mine, lost = result(Delivered()), result(Delivered())
    count_results(counts, [mine, lost], {mine.attempt}, timedelta(0))
    page = shown(counts.cells)
    assert page.value("dispatcher_deliveries_total", outcome="lost") == 1
    assert page.value("dispatcher_acknowledged_delay_seconds_count") == 1


def test_buckets_are_cumulative_and_their_bounds_belong_to_them() -> None:
    counts = Counts(cells())
    for size in (0, 1, 1, 2, 3000):
        counts.claim(size, 0.1)
    page = shown(counts.cells)
    found = {
        sample.labels["le"]: sample.value for sample in page.samples if sample.name == "dispatcher_claim_size_bucket"
    }
    assert (found["0.0"], found["1.0"], found["2.0"], found["2000.0"], found["+Inf"]) == (1, 3, 4, 4, 5)
    assert page.value("dispatcher_claim_size_sum") == 3004
    assert page.value("dispatcher_claim_duration_seconds_count") == 5


def test_children_are_added_up() -> None:
    first, second = Counts(cells()), Counts(cells())
    for counts, requests in ((first, 3), (second, 4)):
        counts.in_flight(requests)
        counts.results(requests, 0.01)
        counts.notices(dict.fromkeys(NOTICES_ENDED, requests))
        counts.token_fetch(failed=requests == 3)
        counts.death(stuck=requests == 3)
    page = shown(first.cells, second.cells)
    assert page.value("dispatcher_requests_in_flight") == 7
    assert page.value("dispatcher_results_size_sum") == 7
    assert page.value("dispatcher_notices_total", outcome="held_back") == 7
    assert [page.value("dispatcher_token_fetches_total", outcome=o) for o in ("failed", "fetched")] == [1, 1]
    assert [page.value("dispatcher_child_deaths_total", cause=c) for c in ("stuck", "died")] == [1, 1]


def test_a_child_goes_on_where_the_one_before_stopped_except_for_what_was_in_flight() -> None:
    memory = cells()
    before = Counts(memory)
    before.quarantined(2)
    before.in_flight(9)
    Counts(memory).quarantined(1)
    page = shown(memory)
    assert page.value("dispatcher_webhooks_quarantined_total") == 3
    assert page.value("dispatcher_requests_in_flight") == 0


def test_no_two_numbers_share_a_place() -> None:
    taken = [at + more for family in FAMILIES for at in PLACES.of(family).values() for more in range(family.width)]
    assert sorted(taken) == list(range(PLACES.size))


def test_every_ending_of_a_notice_has_a_place() -> None:
    assert set(NOTICES_ENDED) == {ending.value for ending in Ending}


def test_a_label_may_have_any_text() -> None:
    hostile = 'a"b\\c\nd} 1\n# x'
    family = DELIVERIES._replace(series=((hostile, ""),))
    places = Places([family])
    row: Cells = memoryview(bytearray(places.size * 8)).cast("d")
    found = parsed(page([(family, values_of(family, places, row))]).decode())
    assert [sample.labels["outcome"] for sample in found.samples] == [hostile]


@pytest.mark.parametrize(
    ("authorization", "is_right"),
    [
        ("Bearer a-long-token", True),
        ("bearer  a-long-token ", True),
        ("Bearer a-long-toke", False),
        ("Bearer a-long-token2", False),
        ("Basic a-long-token", False),
        ("Bearer é", False),
        ("Bearer", False),
        ("", False),
        (None, False),
    ],
)
def test_only_the_whole_token_counts(authorization: str | None, is_right: bool) -> None:
    assert shows_token(authorization, "a-long-token") is is_right
