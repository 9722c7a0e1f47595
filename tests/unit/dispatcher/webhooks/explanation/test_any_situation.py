"""Whatever a row holds: there is a sentence, nothing fails, and nothing foreign steers, leaks or floods."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.db.odd_values import EARLIEST, LATEST
from dispatcher.states import State
from dispatcher.webhooks.explanation.delivery import explain_delivery
from dispatcher.webhooks.explanation.event import explain_event
from dispatcher.webhooks.explanation.situation import (
    Answer,
    Circuit,
    DeliverySituation,
    EventSituation,
    WebhookRecord,
    WebhookSituation,
)
from dispatcher.webhooks.explanation.webhook import explain_webhook
from dispatcher.webhooks.explanation.words import Sentence, plain, span
from tests import hostile_values
from tests.each import each
from tests.hostile_values import steering
from tests.unit.dispatcher.webhooks.explanation.situations import ID, NOW, delivery, record, webhook

SECRET = "s3cret9f8e7d6c5b4a"
URL = f"https://user:{SECRET}@hooks.example.com/x?key={SECRET}"

times = st.datetimes(timezones=st.just(UTC)) | st.sampled_from([EARLIEST, LATEST, datetime.max.replace(tzinfo=UTC)])
foreign = st.one_of(
    st.text(max_size=300), st.sampled_from([*hostile_values.TEXTS.values(), f"see {URL}.", "x" * 180 + URL])
)
numbers = st.integers(-(2**31), 2**31 - 1)
delays = st.lists(st.timedeltas(timedelta(0), timedelta(days=2)), max_size=5)
for kind, strategy in ((datetime, times), (str, foreign), (int, numbers), (float, st.floats())):
    st.register_type_strategy(kind, strategy)
webhooks = st.builds(WebhookSituation, delays=delays, id=st.just(ID), circuit=st.none() | st.builds(Circuit))
deliveries = st.builds(DeliverySituation, webhook=webhooks, id=st.just(ID), before=...)
records = st.builds(
    WebhookRecord, webhook=webhooks, answer=st.none() | st.builds(Answer, duration=st.timedeltas(timedelta(0)))
)
events = st.builds(
    EventSituation, delivery_count=st.sampled_from([-1, 0, 0, 5]), subscribers=..., has_more=..., nearest_types=...
)


def check(said: list[Sentence]) -> None:
    assert said
    for sentence in said:
        assert not steering(sentence.text, allowed="\u200c\u200d"), sentence
        assert len(sentence.text) < 2_000
        assert SECRET not in sentence.text
        written = json.dumps(sentence.parameters, allow_nan=False)
        assert SECRET not in written
        assert len(written) < 10_000


@given(deliveries)
def test_any_delivery_is_explained(one: DeliverySituation) -> None:
    check(explain_delivery(one, NOW))


@given(records)
def test_any_webhook_is_explained(one: WebhookRecord) -> None:
    check(explain_webhook(one, NOW))


@given(events)
def test_any_event_is_explained(one: EventSituation) -> None:
    check(explain_event(one, NOW))


@each("name", hostile_values.ALL)
def test_foreign_text_is_short_on_one_line_and_steers_nothing(name: str) -> None:
    shown = plain(hostile_values.ALL[name])
    assert not steering(shown, allowed="\u200c\u200d")
    assert len(shown) <= 2_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (URL, "https://***@hooks.example.com/x?key=***"),
        (f"moved ({URL}) now", "moved (https://***@hooks.example.com/x?key=***) now"),
        ("x" * 185 + f" {URL}", "x" * 185 + " https://***@h…"),
    ],
)
def test_a_url_in_foreign_text_is_masked_even_where_the_text_is_cut(text: str, shown: str) -> None:
    found = plain(text)
    assert SECRET not in found
    if len(text) < 150:
        assert found.startswith(shown.partition("?")[0])


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "less than 1 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3_600, "1 h"),
        (3_659, "1 h"),
        (90_000, "1 day 1 h"),
        (2 * 86_400 + 59, "2 days"),
        (-90, "1 min 30 s"),
    ],
)
def test_a_span_is_told_in_its_two_largest_units(seconds: float, shown: str) -> None:
    assert span(timedelta(seconds=seconds)) == shown


def test_what_is_told_of_a_well_webhook_can_be_read_by_a_program() -> None:
    said = explain_webhook(record(webhook()), NOW)
    assert [sentence.code for sentence in said] == ["webhook_well", "last_answer", "nothing_open", "notice_sent"]
    parameters: Any = said[1].parameters
    assert (parameters["at"], parameters["status"], parameters["failure"]) == ("2026-03-02T11:59:00Z", 200, None)


def test_a_retry_at_the_end_of_time_is_explained_without_a_last_one() -> None:
    said = explain_delivery(delivery(State.WAITING, due_at=datetime.max.replace(tzinfo=UTC)), NOW)
    assert [sentence.code for sentence in said] == ["retry_due", "can_send_at_once"]


def test_a_webhook_whose_last_request_was_rejected_is_not_called_well() -> None:
    refused = Answer(NOW, 400, None, None, timedelta(seconds=0.1), "rejected")
    (said, *_) = explain_webhook(record(webhook(), answer=refused, ended=30, discarded=25), NOW)
    assert said.code == "webhook_rejecting"
    assert said.text.endswith("Discarded in the last 24 h: 25 of 30 that ended.")
    (said, *_) = explain_webhook(record(webhook(), answer=refused), NOW)
    assert said.text == "Its receiver rejected the last request: what it rejects is discarded."
    (said, *_) = explain_webhook(record(webhook(), answer=refused, ended=1, counts_complete=False), NOW)
    assert "Discarded among its newest deliveries: 0 of 1" in said.text
