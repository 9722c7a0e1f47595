"""What an answer means, for every status and every failure, with and without rules."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.transport.exchange import Failure, FailureKind, Reply
from dispatcher.webhooks.contract import ResponseRule, Verdict
from schedules.catalog import DEFAULT
from schedules.retry import RETRY_AFTER_CAP
from tests import hostile_values
from tests.each import each
from workers.results.classify import Judgement, NotAttempted
from workers.results.classify import classify as classify_at

NOW = datetime(2025, 8, 1, 12, 0, 0, tzinfo=UTC)
classify = partial(classify_at, now=NOW)


def reply(status: int, *headers: tuple[str, str]) -> Reply:
    return Reply(status, headers, b"")


def expected(status: int) -> Verdict:
    if status < 300:
        return Verdict.ACKNOWLEDGED
    return Verdict.REJECTED if 400 <= status <= 499 else Verdict.TEMPORARY


def test_every_status_has_the_verdict_of_the_delivery_rules() -> None:
    statuses = range(100, 1000)
    judged = {status: classify(reply(status)) for status in statuses}
    assert judged == {status: Judgement(expected(status)) for status in statuses}


@each("kind", sorted(set(FailureKind) - {FailureKind.NOT_SENT}))
def test_every_failure_is_temporary(kind: FailureKind) -> None:
    assert classify(Failure(kind, "")) == Judgement(Verdict.TEMPORARY)


def test_what_our_own_side_kept_from_being_sent_is_no_attempt() -> None:
    assert classify(Failure(FailureKind.NOT_SENT, "")) == NotAttempted()


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("status", [101, 200, 302, 404, 408, 410, 429, 500, 999])
def test_a_rule_replaces_the_plain_verdict_of_its_status_only(status: int, verdict: Verdict) -> None:
    rules = {status: ResponseRule(verdict=verdict)}
    assert classify(reply(status), rules).verdict is verdict
    for other in {101, 200, 302, 404, 500} - {status}:
        assert classify(reply(other), rules).verdict is expected(other)


@each("kind", FailureKind)
def test_no_rule_changes_a_failure(kind: FailureKind) -> None:
    rules = {status: ResponseRule(verdict=Verdict.ACKNOWLEDGED, disable_webhook=True) for status in range(200, 1000)}
    assert classify(Failure(kind, ""), rules) == classify(Failure(kind, ""))


def test_a_rule_can_disable_the_webhook() -> None:
    rules = {410: ResponseRule(verdict=Verdict.REJECTED, disable_webhook=True)}
    assert classify(reply(410), rules) == Judgement(Verdict.REJECTED, disable_webhook=True)
    assert not classify(reply(404), rules).disable_webhook


RETRY_AFTER = [
    ("120", timedelta(seconds=120)),
    ("0", timedelta(0)),
    (" 7 ", timedelta(seconds=7)),
    ("9" * 5000, timedelta(seconds=999_999_999)),
    ("Fri, 01 Aug 2025 12:05:00 GMT", timedelta(minutes=5)),
    ("Fri, 01 Aug 2025 14:05:00 +0200", timedelta(minutes=5)),
    ("Fri, 01 Aug 2025 12:05:00 -0000", timedelta(minutes=5)),
    ("Friday, 01-Aug-25 12:05:00 GMT", timedelta(minutes=5)),
    ("Fri, 01 Aug 2025 11:59:59 GMT", timedelta(0)),
    ("Thu, 01 Jan 1970 00:00:00 GMT", timedelta(0)),
    ("1.5", None),
    ("-5", None),
    ("+5", None),
    ("1_0", None),
    ("²", None),
    ("", None),
    ("soon", None),
    ("120 seconds", None),
    ("2025-08-01T12:05:00Z", None),
    ("Fri, 99 Aug 2025 12:05:00 GMT", None),
    ("Fri, 01 Aug 2025 12:05:00 +99999999999999999999", None),
]


@each("text, wait", RETRY_AFTER)
def test_retry_after_is_read_where_a_rule_honours_it(text: str, wait: timedelta | None) -> None:
    rules = {429: ResponseRule(verdict=Verdict.TEMPORARY, honour_retry_after=True)}
    assert classify(reply(429, ("retry-AFTER", text)), rules, now=NOW) == Judgement(Verdict.TEMPORARY, retry_after=wait)


def test_an_answer_without_retry_after_asks_for_nothing() -> None:
    rules = {429: ResponseRule(verdict=Verdict.TEMPORARY, honour_retry_after=True)}
    assert classify(reply(429, ("Content-Type", "text/plain")), rules, now=NOW).retry_after is None


def test_retry_after_means_nothing_without_a_rule_that_honours_it() -> None:
    asked = ("Retry-After", "120")
    assert classify(reply(503, asked), now=NOW).retry_after is None
    assert classify(reply(503, asked), {503: ResponseRule(verdict=Verdict.TEMPORARY)}, now=NOW).retry_after is None


def test_of_several_retry_after_headers_the_first_counts() -> None:
    rules = {429: ResponseRule(verdict=Verdict.TEMPORARY, honour_retry_after=True)}
    answer = reply(429, ("Retry-After", "10"), ("Retry-After", "20"))
    assert classify(answer, rules, now=NOW).retry_after == timedelta(seconds=10)


replies = st.builds(
    Reply,
    status=st.integers(200, 999) | st.just(101),
    headers=st.lists(st.tuples(st.sampled_from(["Retry-After", "X-Other"]), st.text(max_size=40))).map(tuple),
    body=st.binary(max_size=10),
)
failures = st.builds(Failure, kind=st.sampled_from(FailureKind), detail=st.text(max_size=10))
rule_sets = st.dictionaries(
    st.integers(200, 999),
    st.builds(
        ResponseRule,
        verdict=st.sampled_from(Verdict),
        disable_webhook=st.booleans(),
        honour_retry_after=st.booleans(),
    ),
)


@given(outcome=replies | failures, rules=rule_sets, now=st.datetimes(timezones=st.just(UTC)))
def test_every_outcome_is_judged_whatever_it_says(
    outcome: Reply | Failure, rules: dict[int, ResponseRule], now: datetime
) -> None:
    judgement = classify(outcome, rules, now=now)
    if isinstance(judgement, NotAttempted):
        assert isinstance(outcome, Failure)
        return
    assert isinstance(judgement.verdict, Verdict)
    assert judgement.retry_after is None or judgement.retry_after >= timedelta(0)


@given(status=st.integers(200, 999) | st.just(101), rules=rule_sets, outcome=replies | failures)
def test_a_rule_for_one_status_changes_no_other_verdict(
    status: int, rules: dict[int, ResponseRule], outcome: Reply | Failure
) -> None:
    for verdict in Verdict:
        more = {**rules, status: ResponseRule(verdict=verdict)}
        if isinstance(outcome, Reply) and outcome.status == status:
            assert classify(outcome, more, now=NOW) == Judgement(verdict)
        else:
            assert classify(outcome, more, now=NOW) == classify(outcome, rules, now=NOW)


@given(outcome=replies | failures, rules=rule_sets)
def test_only_a_rule_acknowledges_what_is_no_2xx(outcome: Reply | Failure, rules: dict[int, ResponseRule]) -> None:
    judgement = classify(outcome, rules, now=NOW)
    if isinstance(outcome, Failure):
        not_sent = outcome.kind is FailureKind.NOT_SENT
        assert judgement == (NotAttempted() if not_sent else Judgement(Verdict.TEMPORARY))
    elif outcome.status not in rules:
        assert judgement == Judgement(expected(outcome.status))


@each("text", [
        *hostile_values.ALL.values(),
        "nan", "inf", "-inf", "1e9", "0x10", "１２３", "٣", "12 34", "120;120", "120, 60", "--1", "9" * 65_000,
        "Mon, " * 13_000, "1 " * 32_000, ":" * 65_000, "Fri, 01 Aug 2025 12:05:00 " + "9" * 5_000,
        "Fri, 01 Aug " + "9" * 5_000 + " 12:05:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 01 Jan 0001 00:00:00 +2359",
    ])  # fmt: skip
def test_a_hostile_retry_after_never_moves_a_retry_beyond_the_cap(text: str) -> None:
    rules = {429: ResponseRule(verdict=Verdict.TEMPORARY, honour_retry_after=True)}
    judgement = classify(reply(429, ("Retry-After", text)), rules, now=NOW)
    delay = DEFAULT.delay(0, retry_after=judgement.retry_after)
    assert delay is not None
    assert timedelta(seconds=90) <= delay <= RETRY_AFTER_CAP


@given(text=st.text(max_size=60) | st.from_regex(r"[0-9A-Za-z,:+ -]{1,40}", fullmatch=True))
def test_no_retry_after_text_is_an_error(text: str) -> None:
    rules = {429: ResponseRule(verdict=Verdict.TEMPORARY, honour_retry_after=True)}
    wait = classify(reply(429, ("Retry-After", text)), rules, now=NOW).retry_after
    assert wait is None or wait >= timedelta(0)
