"""`webhook_receiver`: a receiver that a test can tell what to answer."""

import http.client
from urllib.parse import urlsplit

import pytest

from dispatcher.errors import InvalidKey
from dispatcher.testing import Answer, WebhookReceiver, signed_request
from dispatcher.testing.receiver import MAX_BODY


def test_it_keeps_what_it_gets_and_says_what_the_signature_is_worth(webhook_receiver: WebhookReceiver) -> None:
    url = f"{webhook_receiver.url}hook?a=1"
    assert signed_request({"id": 7}, key=webhook_receiver.key, attempt=2).send(url) == 204
    assert signed_request({"id": 8}, {"id": 9}).send(url) == 204
    one, batch = webhook_receiver.wait_for(2)
    assert (one.method, one.target, one.json, one.signature) == ("POST", "/hook?a=1", [{"id": 7}], "good")
    assert (one.event_type, one.attempt) == ("message.inbound.received", 2)
    assert one.event_id == one.header("webhook-id") == one.header("WEBHOOK-ID")
    assert (batch.json, batch.signature) == ([{"id": 8}, {"id": 9}], "not signed")
    assert (batch.event_id, batch.event_type, batch.attempt) == (None, None, None)


def test_it_answers_as_it_is_told_each_once_and_the_last_one_always(webhook_receiver: WebhookReceiver) -> None:
    webhook_receiver.answer(500, Answer(429, b"later", {"Retry-After": "7"}, delay=0.01), 204)
    connection = http.client.HTTPConnection(urlsplit(webhook_receiver.url).netloc, timeout=10)
    answers = []
    for _ in range(4):
        connection.request("POST", "/", b"[]")
        answer = connection.getresponse()
        answers.append((answer.status, answer.read(), answer.getheader("Retry-After")))
        connection.close()
    assert answers == [(500, b"", None), (429, b"later", "7"), (204, b"", None), (204, b"", None)]
    with pytest.raises(ValueError, match="at least one"):
        webhook_receiver.answer()


def test_what_does_not_come_is_said_with_what_came(webhook_receiver: WebhookReceiver) -> None:
    signed_request(1).send(webhook_receiver.url)  # what is answered has been kept
    with pytest.raises(AssertionError, match=r"^after 0\.01 s there are 1 callbacks, not 2: POST / message\.inbound"):
        webhook_receiver.wait_for(2, timeout=0.01)


def test_a_key_of_ones_own_is_checked_with_and_what_is_none_is_not_repeated() -> None:
    with WebhookReceiver("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") as receiver:
        signed_request(1, key="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").send(receiver.url)
        assert receiver.wait_for(1)[0].signature == "good"
    with pytest.raises(InvalidKey) as refused:
        WebhookReceiver("planted")
    assert "planted" not in str(refused.value)


def test_a_body_without_an_honest_length_is_refused_and_not_kept(webhook_receiver: WebhookReceiver) -> None:
    for length in ("x", "-1", str(MAX_BODY + 1)):
        connection = http.client.HTTPConnection(urlsplit(webhook_receiver.url).netloc, timeout=10)
        connection.request("POST", "/", headers={"Content-Length": length})
        assert connection.getresponse().status == 413
        connection.close()
    assert webhook_receiver.callbacks == []


def test_a_callback_that_is_answered_too_late_is_there_all_the_same(webhook_receiver: WebhookReceiver) -> None:
    webhook_receiver.answer(Answer(delay=30))
    with pytest.raises(TimeoutError):
        signed_request(1).send(webhook_receiver.url, timeout=0.1)
    assert len(webhook_receiver.wait_for(1)) == 1
