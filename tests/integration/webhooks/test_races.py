"""Many who register and change at once: nothing is lost, nothing half-written, no number used up for nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from dispatcher.db.models import Account
from dispatcher.errors import InvalidWebhook, NameTaken, NotFound, Overtaken, UrlVerificationFailed, WrongState
from dispatcher.installation import Installation
from dispatcher.signing.keys import generate_signing_key
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.registration import change, register, remove, rotate_signing_key
from dispatcher.webhooks.store import Webhooks
from tests.behaviours import Answer
from tests.factories import TESTER, make_account, rows
from tests.factories import change as execute
from tests.receiver import Receiver

TABLES = ("webhooks", "subscriptions", "rates", "circuit_breakers", "tokens", "audit")


@pytest.fixture
def account(database: Engine) -> UUID:
    make_account(database)
    identifier: UUID = rows(database, "SELECT id FROM dispatcher.accounts")[0].id
    return identifier


@pytest.fixture
def webhook(account: UUID, installation: Installation, receiver: Receiver) -> Registered:
    return register(installation, account, by=TESTER, url=receiver.url("/first"), event_types=["a"])


def everything(database: Engine) -> dict[str, list[Any]]:
    return {table: rows(database, f"SELECT * FROM dispatcher.{table} ORDER BY 1, 2") for table in TABLES}


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each came to, its exception in its place."""
    barrier = Barrier(len(calls))

    def run(each: Callable[[], Any]) -> Any:
        barrier.wait(30)
        try:
            return each()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def current(installation: Installation, account: UUID, webhook: Registered) -> Registered:
    with installation.transaction() as session:
        found = Webhooks(session, installation).read(account, webhook.id)
        assert found.secrets
        return found


def test_what_is_refused_leaves_no_row_and_uses_no_number(
    database: Engine, account: UUID, installation: Installation, receiver: Receiver
) -> None:
    def refuse(_: Webhooks, __: Account) -> None:
        raise WrongState("no room")

    def make(path: str, name: str, **more: Any) -> Registered:
        return register(installation, account, by=TESTER, url=receiver.url(path), event_types=["a"], name=name, **more)

    assert make("/", "one").webhook.number == 1
    before = everything(database)
    for url_verification in (True, False):
        for error, more in (
            (NameTaken, {"path": "/", "name": "one"}),
            (WrongState, {"path": "/", "name": "two", "precondition": refuse}),
            (InvalidWebhook, {"path": "/", "name": "two", "contract": {"schedule": "none"}}),
        ):
            with pytest.raises(error):
                make(url_verification=url_verification, **more)
    with pytest.raises(UrlVerificationFailed):
        make("/status/500", "two", url_verification=True)
    assert everything(database) == before
    assert len(receiver.received) == 1
    assert [make("/", name, url_verification=True).webhook.number for name in ("two", "three")] == [2, 3]


def test_a_name_that_is_taken_while_the_url_is_tested_is_refused_at_the_write(
    database: Engine, account: UUID, installation: Installation, receiver: Receiver
) -> None:
    held = receiver.gate()
    receiver.script("/held", (held, *Answer(204).steps()))
    fields: Any = {"by": TESTER, "event_types": ["a"], "name": "main"}
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(register, installation, account, url=receiver.url("/held"), url_verification=True, **fields)
        receiver.wait_for(1)
        register(installation, account, url=receiver.url("/"), **fields)
        held.open()
        with pytest.raises(NameTaken):
            late.result(30)
    fields["name"] = "next"
    assert register(installation, account, url=receiver.url("/"), **fields).webhook.number == 2


def test_of_many_changes_at_once_none_is_lost(
    database: Engine, account: UUID, installation: Installation, receiver: Receiver, webhook: Registered
) -> None:
    for turn in range(4):
        changes: list[dict[str, Any]] = [
            {"name": f"name {turn}"},
            {"app": f"app {turn}"},
            {"contact_email": f"c{turn}@example.com"},
            {"headers": {"X-Turn": str(turn)}},
            {"contract_changes": {"timeout_seconds": turn + 1}},
            {"contract_changes": {"user_agent": f"agent {turn}"}},
            {"event_types": [f"type.n{turn}"]},
            {"enabled": turn % 2 == 0, "reason": None},
        ]
        entries = len(rows(database, "SELECT 1 FROM dispatcher.audit"))
        version = current(installation, account, webhook).webhook.version

        def changing(fields: dict[str, Any]) -> Callable[[], Registered]:
            return lambda: change(installation, account, webhook.id, by=TESTER, **fields)

        outcomes = at_once(*map(changing, changes))
        assert [outcome for outcome in outcomes if not isinstance(outcome, Registered)] == []
        found = current(installation, account, webhook)
        row = found.webhook
        assert (row.name, row.app, row.contact_email) == (f"name {turn}", f"app {turn}", f"c{turn}@example.com")
        assert found.secrets.headers == {"X-Turn": str(turn)}
        assert (found.contract.timeout_seconds, found.contract.user_agent) == (turn + 1, f"agent {turn}")
        assert row.enabled == (turn % 2 == 0)
        subscribed = rows(database, "SELECT event_type, app FROM dispatcher.subscriptions")
        assert [tuple(each) for each in subscribed] == [(f"type.n{turn}", f"app {turn}")]
        assert row.version == version + len(changes)
        assert len(rows(database, "SELECT 1 FROM dispatcher.audit")) == entries + len(changes)


def test_changes_and_rotations_at_once_lose_no_key_and_no_field(
    account: UUID, installation: Installation, webhook: Registered
) -> None:
    keys = [generate_signing_key() for _ in range(3)]
    hour = timedelta(hours=1)
    outcomes = at_once(
        *[
            lambda key=key: rotate_signing_key(installation, account, webhook.id, key, overlap=hour, by=TESTER)  # type: ignore[misc]
            for key in keys
        ],
        lambda: change(installation, account, webhook.id, by=TESTER, headers={"X-A": "b"}),
        lambda: change(
            installation,
            account,
            webhook.id,
            by=TESTER,
            body_secret="s",
            contract_changes={"body_signature": {"header": "X-Signature"}},
        ),
    )
    assert all(isinstance(outcome, Registered) for outcome in outcomes), outcomes
    found = current(installation, account, webhook).secrets
    assert {key.secret for key in keys} <= {key.secret for key in found.signing_keys}
    assert len(found.signing_keys) == 4
    assert (found.headers, found.body_secret) == ({"X-A": "b"}, "s")


def test_whatever_is_changed_while_it_is_deleted_stays_deleted(
    database: Engine, account: UUID, installation: Installation, receiver: Receiver
) -> None:
    for turn in range(4):
        made = register(installation, account, by=TESTER, url=receiver.url("/"), event_types=["a"])
        outcomes = at_once(
            lambda made=made: change(installation, account, made.id, by=TESTER, url=receiver.url("/new")),  # type: ignore[misc]
            lambda made=made: remove(installation, account, made.id, by=TESTER),  # type: ignore[misc]
            lambda made=made: change(installation, account, made.id, by=TESTER, event_types=["b"]),  # type: ignore[misc]
        )
        assert not isinstance(outcomes[1], Exception), (turn, outcomes)
        assert all(isinstance(each, Registered | NotFound) for each in (outcomes[0], outcomes[2])), outcomes
    wiped = "SELECT 1 FROM dispatcher.webhooks WHERE deleted_at IS NULL OR url_ciphertext IS NOT NULL"
    assert rows(database, wiped) == rows(database, "SELECT 1 FROM dispatcher.subscriptions") == []


def test_what_a_response_rule_disables_while_it_is_changed_stays_disabled(
    database: Engine, account: UUID, installation: Installation, receiver: Receiver, webhook: Registered
) -> None:
    held = receiver.gate()
    receiver.script("/held", (held, *Answer(204).steps()))
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(
            change, installation, account, webhook.id, by=TESTER, url_verification=True, url=receiver.url("/held")
        )
        receiver.wait_for(1)
        execute(database, "UPDATE dispatcher.webhooks SET enabled = false, disabled_at = now(), version = version + 1")
        held.open()
        changed = changing.result(30)
    assert not changed.webhook.enabled
    assert current(installation, account, webhook).called_url == receiver.url("/held")


def test_what_was_tried_is_not_tried_again_where_something_else_changed(
    account: UUID, installation: Installation, receiver: Receiver, webhook: Registered
) -> None:
    held = receiver.gate()
    receiver.script("/held", (held, *Answer(204).steps()))
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(
            change, installation, account, webhook.id, by=TESTER, url_verification=True, url=receiver.url("/held")
        )
        receiver.wait_for(1)
        change(installation, account, webhook.id, by=TESTER, name="other")
        held.open()
        assert changing.result(30).webhook.name == "other"
    assert len(receiver.received) == 1


def test_a_change_that_is_overtaken_twice_during_the_url_verification_is_refused_and_changes_nothing(
    database: Engine, account: UUID, installation: Installation, receiver: Receiver, webhook: Registered
) -> None:
    gates = [receiver.gate(), receiver.gate()]
    receiver.script("/held", *[(held, *Answer(204).steps()) for held in gates])
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(
            change, installation, account, webhook.id, by=TESTER, url_verification=True, url=receiver.url("/held")
        )
        for count, held in enumerate(gates, 1):
            receiver.wait_for(count)
            change(installation, account, webhook.id, by=TESTER, headers={"X-Count": str(count)})
            before = everything(database)
            held.open()
        with pytest.raises(Overtaken):
            changing.result(30)
    assert everything(database) == before


def test_two_names_at_once_are_one(database: Engine, account: UUID, installation: Installation) -> None:
    fields: Any = {"by": TESTER, "url": "https://hooks.example.com/", "event_types": ["a"], "name": "main"}
    outcomes = at_once(*[lambda: register(installation, account, **fields)] * 6)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NameTaken"] * 5 + ["Registered"]
    with suppress(NotFound):
        remove(installation, account, next(each for each in outcomes if isinstance(each, Registered)).id, by=TESTER)
    assert register(installation, account, **fields).webhook.number == 2
