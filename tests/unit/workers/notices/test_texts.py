"""What the mails say, for every kind and every error."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from html.parser import HTMLParser
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.transport.exchange import Failure, FailureKind, Reply
from dispatcher.webhooks.notices import NoticeKind
from tests.each import each
from workers.notices import texts
from workers.notices.observe import fingerprint
from workers.notices.texts import Footer, Problem, what_happened, what_to_do

FOOTER = Footer("Hooks <hooks@we.test>", "ops@acme.test", "acme", None)
render = partial(texts.render, footer=FOOTER)
NOW = datetime(2025, 8, 1, 12, 0, 0, tzinfo=UTC)

RETRYING = Problem(
    kind=NoticeKind.MESSAGE_RETRYING,
    fingerprint="http_503",
    observed_at=NOW,
    retry_at=NOW + timedelta(seconds=90),
    suppressed=0,
    reported_before=False,
    outdated=0,
    account="acme",
    webhook_id=UUID(int=1),
    webhook_name="Orders",
    url_masked="https://hooks.acme.test/sms?secret=***",
    webhook_enabled=True,
    disabled_reason=None,
    delivery_id=UUID(int=2),
    delivery_state="waiting",
    delivery_reason=None,
    attempt=3,
    event_id=UUID(int=4),
    event_type="message.inbound.received",
    subject="msg-17",
    failure_detail=None,
    answer=b"<h1>Busy</h1>",
    answer_cut=False,
)
DISCARDED = replace(
    RETRYING,
    kind=NoticeKind.MESSAGE_DISCARDED,
    fingerprint="http_404",
    retry_at=None,
    delivery_state="discarded",
    delivery_reason="rejected",
)
DISABLED = replace(
    DISCARDED,
    kind=NoticeKind.WEBHOOK_DISABLED,
    fingerprint="http_410",
    webhook_enabled=False,
    disabled_reason="http_410",
)
ALL = [RETRYING, DISCARDED, DISABLED]


@pytest.mark.parametrize("problem", ALL)
@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"outdated": 1}, "1 notice to this address was held back for a day and is not sent any more."),
        ({"outdated": 7}, "7 notices to this address were held back for a day and are not sent any more."),
    ],
)
def test_both_texts_tell_how_many_notices_were_held_back(
    problem: Problem, counts: dict[str, int], sentence: str
) -> None:
    words = render(replace(problem, **counts), now=NOW)
    assert sentence in words.plain
    assert sentence in read_html(words.html).text
    untold = render(problem, now=NOW)
    assert "held back" not in untold.plain + untold.html


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def read_html(html: str) -> _Tags:
    reader = _Tags()
    reader.feed(html)
    return reader


@pytest.mark.parametrize("problem", ALL, ids=lambda problem: problem.kind)
def test_both_forms_tell_every_fact(problem: Problem) -> None:
    words = render(replace(problem, suppressed=41, reported_before=True, failure_detail="a detail"), now=NOW)
    shown = read_html(words.html).text
    for fact in [
        "Orders",
        "acme",
        "https://hooks.acme.test/sms?secret=***",
        str(UUID(int=1)),
        str(UUID(int=2)),
        str(UUID(int=4)),
        "message.inbound.received",
        "msg-17",
        "a detail",
        "<h1>Busy</h1>",
        "01 August 2025, 12:00:00 UTC",
        what_happened(problem.fingerprint),
        what_to_do(problem.fingerprint),
        "This error was seen 41 more times since the last notice about it.",
    ]:
        assert fact in words.plain
        assert fact in shown
    assert re.search(r"^Attempt: +3$", words.plain, re.MULTILINE)


def test_each_kind_has_its_subject() -> None:
    assert [render(problem, now=NOW).subject for problem in ALL] == [
        "Message retrying: Orders",
        "Message discarded: Orders",
        "Webhook disabled: Orders",
    ]


def test_the_next_attempt_is_announced_in_utc() -> None:
    for text in (render(RETRYING, now=NOW).plain, read_html(render(RETRYING, now=NOW).html).text):
        assert "Next attempt: 01 August 2025, 12:01:30 UTC" in text


def test_an_attempt_that_should_have_been_is_not_announced() -> None:
    words = render(RETRYING, now=NOW + timedelta(hours=1))
    assert "Next attempt" not in words.plain + words.html
    assert "being retried" in words.plain


@pytest.mark.parametrize("problem", [RETRYING, DISCARDED], ids=lambda problem: problem.kind)
def test_what_was_delivered_in_the_meantime_is_said(problem: Problem) -> None:
    words = render(replace(problem, delivery_state="delivered"), now=NOW)
    assert "delivered in the meantime" in words.plain
    assert "delivered in the meantime" in words.html
    assert "Next attempt" not in words.plain


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [("rejected", "A 4xx answer"), ("exhausted", "Every planned retry failed"), ("expired", "has expired")],
)
def test_a_discard_says_why(reason: str, sentence: str) -> None:
    words = render(replace(DISCARDED, delivery_reason=reason), now=NOW)
    assert sentence in words.plain
    assert sentence in words.html


def test_a_discard_of_a_disabled_webhook_does_not_say_that_it_stays_in_use() -> None:
    assert "stays in use" in render(DISCARDED, now=NOW).plain
    words = render(replace(DISCARDED, webhook_enabled=False), now=NOW)
    assert "stays in use" not in words.plain + words.html


def test_a_webhook_that_is_enabled_again_is_not_called_disabled_still() -> None:
    assert "Then enable the webhook again" in render(DISABLED, now=NOW).plain
    words = render(replace(DISABLED, webhook_enabled=True), now=NOW)
    assert "enabled again in the meantime" in words.plain
    assert "Then enable the webhook again" not in words.plain + words.html


def test_nothing_suppressed_is_not_mentioned_and_one_is_one_time() -> None:
    assert "more time" not in render(RETRYING, now=NOW).plain
    assert "seen 1 more time." in render(replace(RETRYING, suppressed=1), now=NOW).plain


def test_a_webhook_without_a_name_is_called_by_its_host() -> None:
    assert render(replace(RETRYING, webhook_name=None), now=NOW).subject == "Message retrying: hooks.acme.test"


@pytest.mark.parametrize("problem", ALL, ids=lambda problem: problem.kind)
def test_facts_that_are_gone_are_left_out(problem: Problem) -> None:
    bare = replace(
        problem, event_id=None, event_type=None, subject=None, attempt=None, answer=None, delivery_state=None
    )
    words = render(bare, now=NOW)
    assert "None" not in words.plain + words.html
    for gone in ("Event", "Subject", "Attempt", "answer began"):
        assert gone not in words.plain + words.html


@pytest.mark.parametrize("problem", ALL, ids=lambda problem: problem.kind)
def test_names_and_answers_bring_no_html(problem: Problem) -> None:
    evil = '"><script>alert(1)</script><img src=x>'
    words = render(
        replace(
            problem,
            webhook_name=evil,
            account=evil,
            subject=evil,
            failure_detail=evil,
            disabled_reason=evil,
            answer=evil.encode(),
        ),
        now=NOW,
    )
    assert not {"script", "img"} & set(read_html(words.html).tags)
    assert read_html(words.html).text.count("<script>") >= 4


@each("kind", FailureKind)
def test_every_failure_has_a_sentence_and_advice(kind: FailureKind) -> None:
    key = fingerprint(Failure(kind, "x"))
    assert what_happened(key).endswith(".")
    assert key not in what_happened(key) or key in {"tls", "dns", "timeout", "token"}
    assert what_to_do(key).startswith("Please")


def test_failures_differ_in_their_sentences_except_where_that_would_tell_of_the_operators_network() -> None:
    exact = set(FailureKind) - {FailureKind.DNS}
    assert len({what_happened(kind.value) for kind in exact}) == len(exact)
    assert what_happened("dns") == what_happened("address_refused")
    assert what_to_do("dns") == what_to_do("address_refused")


def test_every_status_is_reported() -> None:
    for status in (101, *range(200, 1000)):
        key = fingerprint(Reply(status, (), b""))
        assert key == f"http_{status}"
        assert f"HTTP status {status}" in what_happened(key)
        assert what_to_do(key).endswith("."), key


def test_a_known_status_has_its_name() -> None:
    assert what_happened("http_503") == "Your server answered with HTTP status 503 (Service Unavailable)."
    assert what_happened("http_777") == "Your server answered with HTTP status 777."


def test_a_redirect_is_advised_to_register_the_final_url() -> None:
    assert "final URL" in what_to_do("http_302")


texts = st.none() | st.text(max_size=80)
problems = st.builds(
    partial(replace, RETRYING),
    kind=st.sampled_from(NoticeKind),
    fingerprint=st.sampled_from([*FailureKind, "http_500", "http_404", "something_new"]),
    webhook_name=texts,
    subject=texts,
    failure_detail=texts,
    disabled_reason=texts,
    answer=st.none() | st.binary(max_size=500),
)
TAGS = {"html", "head", "meta", "title", "body", "table", "tr", "td", "h1", "p", "br", "strong", "pre"}


@given(problem=problems)
def test_every_problem_can_be_reported(problem: Problem) -> None:
    words = render(problem, now=NOW)
    assert len(words.subject.splitlines()) == 1
    assert set(read_html(words.html).tags) <= TAGS
