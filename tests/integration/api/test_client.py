"""`dispatcher.client` at work with a real API: a backend, an operator, and what they are told when they are wrong."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.client import AsyncClient, Client, Problem
from dispatcher.client.documents import AcceptedItem, Count, RefusedItem
from dispatcher.settings import Settings
from tests.factories import make_webhook
from tests.integration.api.conftest import Api, MakeKey

TYPE = "message.outbound.sent"
LARGE = 9_007_199_254_740_993  # beyond what a float holds


@pytest.fixture
def key(make_key: MakeKey) -> str:
    return make_key("acme", Scope.SEND, Scope.READ, Scope.MANAGE)


def test_a_backend_sends_an_event_and_finds_it_again(api: Api, key: str, database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="https://example.com/hook")
    moment = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
    with Client(api.origin, key) as client:
        first = client.send_event(type=TYPE, data={"id": LARGE}, idempotency_key="k", occurred_at=moment)
        again = client.send_event(type=TYPE, data={"id": LARGE}, idempotency_key="k", occurred_at=moment)
        assert (first.deliveries, first.repeated, again.event_id, again.repeated) == (1, False, first.event_id, True)
        event = client.get_event(first.event_id)
        assert (event.data, event.occurred_at, event.account) == ({"id": LARGE}, moment, "acme")
        (delivery,) = client.list_deliveries(event=first.event_id, state="ready")
        assert client.get_delivery(str(delivery.id)).event == client.get_delivery(delivery.id).event
        counted = client.create_redelivery(filter={"states": ["delivered"]}, dry_run=True)
        assert counted == Count(matched=0, matched_complete=True)


def test_a_list_goes_on_to_its_end(api: Api, key: str) -> None:
    async def all_ids() -> list[UUID]:
        async with AsyncClient(api.origin, key) as client:
            receipts = [await client.send_event(type=TYPE, data=n) for n in range(3)]
            listed = [event.id async for event in client.list_events(limit=1)]
            assert listed == [receipt.event_id for receipt in reversed(receipts)]
            return listed

    listed = asyncio.run(all_ids())
    with Client(api.origin, key) as client:
        assert [event.id for event in client.list_events(limit=2)] == listed
        later = datetime.now(UTC) + timedelta(hours=1)
        assert list(client.list_events(since=later)) == []


def test_of_many_events_each_has_a_receipt(api: Api, key: str) -> None:
    with Client(api.origin, key) as client:
        outcomes = client.send_events(events=[{"type": TYPE, "data": 1}, {"type": "no type", "data": 1}])
    taken, refused = outcomes.items
    assert isinstance(taken, AcceptedItem)
    assert isinstance(refused, RefusedItem)
    assert [error.field for error in refused.errors] == ["type"]


def test_a_webhook_is_made_changed_and_deleted(api: Api, key: str) -> None:
    with Client(api.origin, key) as client:
        made = client.create_webhook(
            url="https://example.com/hook?key=planted",
            event_types=["message"],
            app="crm",
            enabled=False,
            contract={"batch_size": 10, "rules": {"429": {"verdict": "temporary", "honour_retry_after": True}}},
            authorization={"kind": "basic", "username": "u", "password": "planted"},
        )
        assert made.contract is not None
        assert (made.contract.batch_size, made.contract.rules["429"].honour_retry_after) == (10, True)
        assert "planted" not in repr(made)
        assert made.signing_keys[0].secret.startswith("whsec_")
        assert made.signing_keys[0].secret not in repr(made)
        changed = client.update_webhook(made.id, app=None)
        assert (changed.app, changed.event_types) == (None, ["message"])  # null removes, what is left out stays
        client.delete_webhook(made.id)
        with pytest.raises(Problem) as gone:
            client.get_webhook(made.id)
        assert gone.value.status == 404
        assert list(client.list_webhooks()) == []


@pytest.mark.parametrize("name", ["a/b c%2F?#", "ü.", "."])
def test_an_account_can_have_any_name(api: Api, operator: str, name: str) -> None:
    with Client(api.origin, operator) as client:
        made = client.create_account(name=name)
        assert client.get_account(name).id == made.id
        assert client.suspend_account(name).suspended_at is not None
        assert client.set_account_limits(name, webhooks=5, events_per_day=None).own == {
            "webhooks": 5,
            "events_per_day": None,
        }


def test_a_key_gets_an_access_token_and_uses_it(api: Api, key: str) -> None:
    with Client(api.origin, key) as client:
        token = client.create_token(grant_type="client_credentials")
    assert token.access_token not in repr(token)
    with Client(api.origin, token.access_token) as client:
        assert list(client.list_events()) == []
        with pytest.raises(Problem) as refused:
            client.create_token(grant_type="client_credentials")
    assert (refused.value.status, refused.value.title) == (401, "invalid_client")


def test_whoever_is_wrong_is_told_which_fields_and_why(api: Api, key: str) -> None:
    with Client(api.origin, key) as client:
        with pytest.raises(Problem) as refused:
            client.create_webhook(url="https://example.com/", event_types=[], contract={"timeout_seconds": 90})
        assert refused.value.status == 422
        assert refused.value.errors.keys() == {"event_types", "contract.timeout_seconds"}
        assert UUID(refused.value.request_id)
        with pytest.raises(Problem) as forbidden:
            next(client.list_accounts())
        assert (forbidden.value.status, forbidden.value.errors) == (403, {})
    with Client(api.origin, f"{uuid4().hex}.planted") as stranger, pytest.raises(Problem) as unknown:
        list(stranger.list_events())
    assert unknown.value.status == 401
    assert "planted" not in f"{unknown.value!r}"


def test_an_api_below_a_path_is_called_there(api: Api, key: str) -> None:
    """The server has no such path: what comes back is its problem, about the whole path."""
    with Client(f"{api.origin}/hooks/", key) as client, pytest.raises(Problem) as nowhere:
        client.healthz()
    assert nowhere.value.status == 404
