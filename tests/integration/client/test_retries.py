"""What is refused for now is made again after the seconds that the API says, if it cannot have been done before."""

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher.client import AsyncClient, Client, NoAnswer, Problem
from tests.behaviours import HANG, NO_ANSWER, Answer
from tests.dead_ports import refusing_port
from tests.receiver import Receiver

ACCEPTED = {"event_id": "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00", "deliveries": 1, "repeated": False, "nearest_types": []}
DONE = Answer(202, body=json.dumps(ACCEPTED).encode())
EVENT: Any = {"type": "message.outbound.sent", "data": {"id": "7"}}
KEYED: Any = {**EVENT, "idempotency_key": "sms-7"}
KEY = "planted.key"


def refusal(status: int, seconds: int = 5) -> Answer:
    problem = {"type": "about:blank", "title": "Later", "status": status, "detail": "busy"}
    return Answer(status, (("Retry-After", str(seconds)),), json.dumps(problem).encode())


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that clients have waited; they do not really."""
    seconds: list[float] = []

    async def sleep(wait: float) -> None:
        seconds.append(wait)

    monkeypatch.setattr("dispatcher.client.senders.time", SimpleNamespace(sleep=seconds.append))
    monkeypatch.setattr("dispatcher.client.senders.asyncio", SimpleNamespace(sleep=sleep))
    return seconds


Send = Callable[..., Any]


@pytest.fixture(params=["blocking", "asyncio"])
def send(request: pytest.FixtureRequest, receiver: Receiver) -> Send:
    """Sends an event, by each of the clients."""

    def blocking(event: Any, **options: float) -> Any:
        with Client(receiver.origin, KEY, **options) as client:
            return client.send_event(**event)

    def from_asyncio(event: Any, **options: float) -> Any:
        async def call() -> Any:
            async with AsyncClient(receiver.origin, KEY, **options) as client:
                return await client.send_event(**event)

        return asyncio.run(call())

    return blocking if request.param == "blocking" else from_asyncio


def test_a_call_is_made_again_after_the_seconds_that_the_answer_says(
    send: Send, receiver: Receiver, waited: list[float]
) -> None:
    receiver.script("/v1/events", refusal(429, 7), refusal(503, 5), DONE)
    assert send(KEYED).deliveries == 1
    assert waited == [7, 5]
    assert len({(one.method, one.body) for one in receiver.received}) == 1
    assert len(receiver.received) == 3


def test_an_event_without_a_key_is_not_sent_again_after_a_503(
    send: Send, receiver: Receiver, waited: list[float]
) -> None:
    receiver.script("/v1/events", refusal(429), refusal(503))
    with pytest.raises(Problem) as raised:
        send(EVENT)
    assert (raised.value.status, raised.value.retry_after, waited) == (503, 5, [5])
    assert len(receiver.received) == 2


def test_a_caller_waits_no_longer_than_it_said(send: Send, receiver: Receiver, waited: list[float]) -> None:
    receiver.script("/v1/events", refusal(429, 5))
    with pytest.raises(Problem):
        send(EVENT, patience=12)
    assert waited == [5, 5]
    assert len(receiver.received) == 3
    with pytest.raises(Problem):
        send(EVENT, patience=0)
    assert len(receiver.received) == 4


def test_of_many_events_each_needs_a_key_to_be_sent_again(receiver: Receiver, waited: list[float]) -> None:
    done = Answer(body=b'{"accepted": 0, "refused": 0, "items": []}')
    receiver.script("/v1/events/batch", refusal(503), done, refusal(503))
    with Client(receiver.origin, KEY) as client:
        client.send_events(events=[KEYED, KEYED])
        with pytest.raises(Problem):
            client.send_events(events=[KEYED, EVENT])
    assert len(receiver.received) == 3


def test_what_is_made_twice_as_well_as_once_is_made_again_and_nothing_else(
    receiver: Receiver, waited: list[float]
) -> None:
    """A key or a redelivery that was made before the 503 would be made twice."""
    name, webhook = "acme", "0198a6d1-90aa-7c33-a2b7-0d5f1c9e4a77"
    with Client(receiver.origin, KEY, patience=5) as client:
        calls: list[tuple[Callable[[], object], int]] = [
            (lambda: client.get_account(name), 2),
            (lambda: client.update_webhook(webhook, name="n"), 2),
            (lambda: client.delete_webhook(webhook), 2),
            (lambda: client.set_account_limits(name), 2),
            (lambda: client.suspend_account(name), 2),
            (lambda: client.create_key(scopes=["operator"]), 1),
            (lambda: client.create_redelivery(filter={}), 1),
            (lambda: client.rotate_webhook_secret(webhook), 1),
            (lambda: client.test_webhook(webhook), 1),
        ]
        for path in (f"/v1/accounts/{name}", f"/v1/webhooks/{webhook}", "/v1/keys", "/v1/redeliveries"):
            for ending in ("", "/limits", "/suspend", "/rotate-secret", "/test"):
                receiver.script(path + ending, refusal(503))
        for call, times in calls:
            before = len(receiver.received)
            with pytest.raises(Problem):
                call()
            assert len(receiver.received) - before == times, receiver.received[-1].target


def test_whether_the_api_is_ready_is_told_at_once(receiver: Receiver, waited: list[float]) -> None:
    """A 503 is its answer, not a refusal."""
    shown = {"status": "not ready", "parts": {"broker": {"status": "failed", "detail": "does not answer"}}}
    receiver.script("/readyz", Answer(503, (("Retry-After", "5"),), json.dumps(shown).encode()))
    with Client(receiver.origin, KEY) as client:
        assert client.readyz().parts["broker"].status == "failed"
    assert waited == []


@pytest.mark.parametrize("behaviour", [NO_ANSWER, HANG])
def test_no_answer_is_an_error_that_does_not_show_the_key(send: Send, receiver: Receiver, behaviour: Any) -> None:
    receiver.script("/v1/events", behaviour)
    with pytest.raises(NoAnswer, match=r"^the API did not answer: ") as raised:
        send(KEYED, timeout=0.2)
    assert KEY not in f"{raised.value!r}{raised.value.__cause__!r}"
    assert len(receiver.received) == 1


def test_an_api_that_is_away_is_no_answer() -> None:
    with Client(f"http://127.0.0.1:{refusing_port()}", KEY) as client, pytest.raises(NoAnswer, match="ConnectError"):
        client.healthz()
