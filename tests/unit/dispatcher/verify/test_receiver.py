"""What a receiver answers, and what it hands over: each message once, none that is not ours, none lost."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from dispatcher.signing.keys import generate_signing_key
from dispatcher.signing.signer import Signer
from dispatcher.verify import Answer, Callback, HandOverFailed, Receiver, RecentIds
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.secrets import WebhookSecrets

NOW = 1_700_000_000
KEY = generate_signing_key()
SIGNER = Signer(WebhookSecrets(signing_keys=[KEY]), DeliveryContract())
TAKEN = Answer(204)


class Taking:
    """A receiver with what it has handed over; `send` sends it a request."""

    def __init__(self, hand_over: Callable[[Callback], object] | None = None, **options: Any) -> None:
        self.taken: list[Callback] = []
        self.receiver = Receiver(KEY.secret, hand_over=hand_over or self.taken.append, **options)

    def send(self, message_id: str, *messages: object, late: int = 0, changed: bytes = b"") -> Answer:
        body = json.dumps(messages).encode()
        headers = dict(SIGNER.headers(message_id, "nonce", body, NOW))
        return self.receiver.answer(headers, body + changed, now=NOW + late)


def test_a_callback_is_handed_over_once() -> None:
    taking = Taking()
    assert taking.send("one", {"id": 1}) == taking.send("one", {"id": 1}) == taking.send("two", {"id": 2}) == TAKEN
    assert [(callback.id, callback.messages) for callback in taking.taken] == [
        ("one", [{"id": 1}]),
        ("two", [{"id": 2}]),
    ]


def test_what_cannot_be_verified_is_answered_so_that_the_engine_sends_it_again() -> None:
    """With a wrong key here, a 4xx would lose genuine messages: the engine discards at once."""
    taking = Taking()
    assert taking.send("one", {}, changed=b" ") == Answer(
        503, "not verified: made with another key, or the body was changed\n"
    )
    assert taking.send("one", {}, late=301).status == 503
    assert taking.receiver.answer({}, b"[{}]").status == 503
    assert taking.taken == []


@pytest.mark.parametrize("headers", [{}, dict(SIGNER.headers("id", "nonce", b"[1]", NOW))])
def test_a_url_verification_is_answered_whatever_it_is_signed_with_and_hands_nothing_over(
    headers: dict[str, str],
) -> None:
    taking = Taking()
    assert taking.receiver.answer(headers, b" []\n") == TAKEN
    assert taking.taken == []


def test_what_could_not_be_handed_over_is_not_remembered() -> None:
    failing, taken = [ValueError("planted")], list[str]()

    def hand_over(callback: Callback) -> None:
        if failing:
            raise failing.pop()
        taken.append(callback.id)

    taking = Taking(hand_over)
    with pytest.raises(HandOverFailed, match=r"^not handed over: ValueError$") as raised:
        taking.send("one", {})
    assert isinstance(raised.value.__cause__, ValueError)
    assert taking.send("one", {}) == TAKEN
    assert taken == ["one"]


def test_a_store_that_fails_does_not_lose_the_callback() -> None:
    class Away(RecentIds):
        def __contains__(self, message_id: str, /) -> bool:
            raise ConnectionError

    with pytest.raises(HandOverFailed):
        Taking(seen=Away()).send("one", {})


def test_an_async_function_is_refused_before_a_callback_is_lost() -> None:
    async def hand_over(callback: Callback) -> None: ...

    seen = RecentIds()
    awaitable = []
    taking = Taking(lambda callback: awaitable.append(hand_over(callback)) or awaitable[-1], seen=seen)
    with pytest.raises(HandOverFailed) as raised:
        taking.send("one", {})
    awaitable[0].close()
    assert "async" in str(raised.value.__cause__)
    assert "one" not in seen


def test_with_an_id_of_its_own_each_message_of_a_batch_is_handed_over_once() -> None:
    taking = Taking(id_of=lambda message: str(message["event_id"]))
    first, second, third = ({"event_id": number} for number in range(3))
    assert taking.send("request 1", first, second) == taking.send("request 2", second, third) == TAKEN
    assert taking.send("request 3", third) == TAKEN
    assert [callback.messages for callback in taking.taken] == [[first, second], [third]]


def test_without_one_a_batch_that_comes_again_is_handed_over_again() -> None:
    taking = Taking()
    taking.send("request 1", {"id": 1}, {"id": 2})
    taking.send("request 2", {"id": 1}, {"id": 2})
    assert len(taking.taken) == 2


def test_a_message_without_the_id_it_should_have_is_not_lost() -> None:
    with pytest.raises(HandOverFailed):
        Taking(id_of=lambda message: str(message["event_id"])).send("one", {"id": 1})


def test_the_newest_ids_are_remembered() -> None:
    recent = RecentIds(most=2)
    for message_id in ("a", "b", "b", "c"):
        recent.add(message_id)
    assert [message_id in recent for message_id in "abc"] == [False, True, True]
