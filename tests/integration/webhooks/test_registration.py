"""Making and changing webhooks as management APIs do, with the URL verification."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine
from standardwebhooks import Webhook as Verifier

from dispatcher.db.models import Account
from dispatcher.errors import (
    AccountAtLimit,
    Conflict,
    InvalidWebhook,
    NameTaken,
    NotFound,
    TooBusy,
    UrlVerificationFailed,
)
from dispatcher.installation import Installation
from dispatcher.receiver_auth.credentials import Basic, ClientCredentials
from dispatcher.settings import Settings
from dispatcher.signing.keys import SigningKey, generate_signing_key
from dispatcher.webhooks.registered import Registered
from dispatcher.webhooks.registration import change, register, remove, rotate_signing_key
from dispatcher.webhooks.store import Webhooks
from dispatcher.webhooks.url_verification import ACCOUNT_AT_ONCE
from tests.behaviours import Answer, Do
from tests.dead_ports import refusing_port
from tests.factories import TESTER, make_account, rows
from tests.installations import installation_for
from tests.receiver import Receiver


@pytest.fixture
def account(database: Engine) -> UUID:
    make_account(database)
    identifier: UUID = rows(database, "SELECT id FROM dispatcher.accounts")[0].id
    return identifier


def stored(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.webhooks ORDER BY number")


def test_an_empty_batch_is_sent_as_a_callback_would_be(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    key = generate_signing_key()
    register(
        installation,
        account,
        by=TESTER,
        url=receiver.url("/hook?secret=a"),
        event_types=["*"],
        url_verification=True,
        authorization=Basic("user", "word"),
        headers={"X-Key": "k"},
        signing_keys=[key],
        contract={"user_agent": "BulkSMS Invoker"},
    )
    (tested,) = receiver.received
    assert (tested.method, tested.target, tested.body) == ("POST", "/hook?secret=a", b"[]")
    assert tested.header("User-Agent") == "BulkSMS Invoker"
    assert tested.header("Content-Type") == "application/json"
    assert tested.header("Authorization") == "Basic dXNlcjp3b3Jk"
    assert tested.header("X-Key") == "k"
    assert Verifier(key.secret).verify(tested.body, dict(tested.headers)) == []
    assert len(stored(database)) == 1


def test_the_form_that_is_called_is_tried(account: UUID, receiver: Receiver, installation: Installation) -> None:
    url = receiver.url("/höok?q=ü#part").replace("http:", "HTTP:")
    webhook = register(installation, account, by=TESTER, url=url, event_types=["*"], url_verification=True)
    change(installation, account, webhook.id, by=TESTER, url_verification=True, enabled=True)
    assert [tested.target for tested in receiver.received] == ["/h%C3%B6ok?q=%C3%BC"] * 2


def test_a_token_is_fetched_for_the_test(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    receiver.script("/token", Answer(200, body=b'{"access_token":"for-once","expires_in":600}'), Answer(500))
    client = ClientCredentials(receiver.url("/token"), "client", "secret")
    fields: Any = {
        "url": receiver.url("/hook"),
        "event_types": ["*"],
        "authorization": client,
        "url_verification": True,
    }
    register(installation, account, by=TESTER, **fields)
    assert [request.header("Authorization") for request in receiver.at("/hook")] == ["Bearer for-once"]
    with pytest.raises(UrlVerificationFailed, match="token server answered 500"):
        register(installation, account, by=TESTER, **fields)
    assert len(receiver.at("/hook")) == len(stored(database)) == 1


@pytest.mark.parametrize("status", [200, 204, 299])
def test_any_2xx_will_do(
    database: Engine, account: UUID, receiver: Receiver, status: int, installation: Installation
) -> None:
    register(
        installation,
        account,
        by=TESTER,
        url=receiver.url(f"/status/{status}"),
        event_types=["*"],
        url_verification=True,
    )
    assert len(stored(database)) == 1


@pytest.mark.parametrize(
    ("status", "came_back"), [(403, "403 - Forbidden"), (302, "302 - Found"), (999, "999 - an unknown status")]
)
def test_anything_else_is_refused_with_what_came_back(
    database: Engine, account: UUID, receiver: Receiver, status: int, came_back: str, installation: Installation
) -> None:
    with pytest.raises(UrlVerificationFailed) as refused:
        register(
            installation,
            account,
            by=TESTER,
            url=receiver.url(f"/status/{status}"),
            event_types=["*"],
            url_verification=True,
        )
    assert (refused.value.field, refused.value.came_back) == ("url", came_back)
    assert stored(database) == []


def test_no_answer_is_refused_and_reported_without_the_url(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    receiver.script("/planted", (Do.RESET,))
    for url in (receiver.url("/planted"), f"http://127.0.0.1:{refusing_port()}/planted"):
        with pytest.raises(UrlVerificationFailed) as refused:
            register(installation, account, by=TESTER, url=url, event_types=["*"], url_verification=True)
        assert "planted" not in str(refused.value)
        assert "127.0.0.1" not in str(refused.value)
    assert stored(database) == []


def test_the_guard_holds_for_the_test_as_for_deliveries(
    database: Engine, account: UUID, receiver: Receiver, settings: Settings
) -> None:
    installation = installation_for(settings.model_copy(update={"allowed_networks": ""}))
    installation.addresses = settings.addresses
    with pytest.raises(UrlVerificationFailed) as refused:  # the name was allowed at the time of the first check
        register(installation, account, by=TESTER, url=receiver.url("/hook"), event_types=["*"], url_verification=True)
    assert refused.value.came_back == "does not lead to a public address"
    assert refused.value.exact_reason.endswith(": a loopback address")
    assert receiver.received == []
    assert stored(database) == []


def test_a_disabled_webhook_is_not_tried_until_it_is_enabled(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    webhook = register(
        installation,
        account,
        by=TESTER,
        url=receiver.url("/status/500"),
        event_types=["*"],
        enabled=False,
        url_verification=True,
    )
    change(installation, account, webhook.id, by=TESTER, url_verification=True, url=receiver.url("/status/501"))
    assert receiver.received == []
    with pytest.raises(UrlVerificationFailed, match="501"):
        change(installation, account, webhook.id, by=TESTER, url_verification=True, enabled=True)
    assert not stored(database)[0].enabled


def test_a_change_that_fails_its_test_changes_nothing(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    webhook = register(
        installation,
        account,
        by=TESTER,
        url=receiver.url("/good"),
        event_types=["*"],
        name="first",
        url_verification=True,
    )
    before = stored(database)
    with pytest.raises(UrlVerificationFailed):
        change(
            installation,
            account,
            webhook.id,
            by=TESTER,
            url_verification=True,
            url=receiver.url("/status/404"),
            name="second",
        )
    assert stored(database) == before
    changed = change(installation, account, webhook.id, by=TESTER, reason="why", enabled=False, name="second").webhook
    assert (changed.name, changed.disabled_by, changed.disabled_reason) == ("second", "command line", "why")


@pytest.mark.parametrize(
    ("contract", "methods"),
    [({"method": "PUT"}, ["PUT"]), ({"method": "GET"}, []), ({"envelope": "object"}, []), ({}, ["POST"])],
)
def test_only_callbacks_that_are_arrays_in_a_body_are_tried_with_an_empty_one(
    database: Engine,
    account: UUID,
    receiver: Receiver,
    contract: dict[str, Any],
    methods: list[str],
    installation: Installation,
) -> None:
    register(
        installation,
        account,
        by=TESTER,
        url=receiver.url("/"),
        event_types=["*"],
        url_verification=True,
        contract=contract,
    )
    assert [request.method for request in receiver.received] == methods


def test_a_contract_is_changed_member_by_member(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    contract = {"timeout_seconds": 5, "user_agent": "A", "circuit_breaker": False}
    webhook = register(installation, account, by=TESTER, url=receiver.url("/"), event_types=["*"], contract=contract)
    changes = {"user_agent": None, "circuit_breaker": None, "rate_limit": 2}
    changed = change(installation, account, webhook.id, by=TESTER, contract_changes=changes).webhook
    assert changed.contract == {"timeout_seconds": 5, "rate_limit": 2}
    assert stored(database)[0].rate_limit == 2


@pytest.mark.parametrize("fields", [{"enabled": True}, {"url": "http://127.0.0.1:9/new"}, {"contract_changes": {}}])
def test_a_change_wakes_the_workers_for_what_waited(
    database: Engine, account: UUID, broker: "redis.Redis", installation: Installation, fields: dict[str, Any]
) -> None:
    webhook = register(installation, account, by=TESTER, url="http://127.0.0.1:9/", event_types=["*"], enabled=False)
    assert broker.llen("deliver") == 0
    change(installation, account, webhook.id, by=TESTER, **fields)
    assert broker.llen("deliver") == 1


def test_who_made_it_disabled_is_kept(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    made = register(
        installation, account, by=TESTER, url=receiver.url("/"), event_types=["*"], enabled=False, url_verification=True
    ).webhook
    assert (made.disabled_by, made.disabled_reason) == ("command line", "registered disabled")
    assert made.disabled_at is not None
    assert (
        register(installation, account, by=TESTER, url=receiver.url("/"), event_types=["*"]).webhook.disabled_by is None
    )


def test_two_who_rotate_at_once_lose_no_key(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    webhook = register(installation, account, by=TESTER, url=receiver.url("/"), event_types=["*"], signing_keys=[])
    keys = [generate_signing_key() for _ in range(4)]

    def rotate(key: SigningKey) -> None:
        rotate_signing_key(installation, account, webhook.id, key, overlap=timedelta(hours=1), by=TESTER)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rotate, keys))
    with installation.transaction() as session:
        found = Webhooks(session, installation).read(account, webhook.id).secrets.signing_keys
    assert {key.secret for key in found} == {key.secret for key in keys}


def test_what_is_deleted_while_it_is_changed_stays_deleted(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    webhook = register(installation, account, by=TESTER, url=receiver.url("/"), event_types=["*"])
    held = receiver.gate()
    receiver.script("/held", (held, *Answer(204).steps()))
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(
            change, installation, account, webhook.id, by=TESTER, url_verification=True, url=receiver.url("/held")
        )
        receiver.wait_for(1)
        remove(installation, account, webhook.id, by=TESTER)
        held.open()
        with pytest.raises(NotFound):
            changing.result(30)
    assert stored(database)[0].url_ciphertext is None
    assert rows(database, "SELECT * FROM dispatcher.subscriptions") == []


def test_what_is_refused_anyway_is_not_tried(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    register(installation, account, by=TESTER, url=receiver.url("/a"), event_types=["*"], name="taken")
    with pytest.raises(NameTaken):
        register(
            installation,
            account,
            by=TESTER,
            url=receiver.url("/b"),
            event_types=["*"],
            name="taken",
            url_verification=True,
        )
    with pytest.raises(InvalidWebhook):
        register(
            installation, account, by=TESTER, url=receiver.url("/b"), event_types=["no type!"], url_verification=True
        )
    with pytest.raises(NotFound):
        change(installation, account, account, by=TESTER, url_verification=True, url=receiver.url("/b"))
    assert receiver.received == []


def test_what_a_dialect_demands_holds_for_two_at_once(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    def only_one(webhooks: Webhooks, owner: Account) -> None:
        if webhooks.list(owner, dialect="vendor"):
            raise Conflict("there is one already")

    def attempt(_: int) -> Registered | Conflict:
        try:
            return register(
                installation,
                account,
                by=TESTER,
                url=receiver.url("/"),
                event_types=[],
                dialect="vendor",
                precondition=only_one,
                url_verification=True,
            )
        except Conflict as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(4)))
    assert [isinstance(outcome, Registered) for outcome in outcomes].count(True) == 1
    assert len(stored(database)) == 1


def test_no_more_are_tried_at_once_than_there_are_threads_to_spare(
    database: Engine, account: UUID, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, installation: Installation
) -> None:
    monkeypatch.setattr("dispatcher.webhooks.url_verification.AT_ONCE", 1)
    held = receiver.gate()
    receiver.script("/held", (held, *Answer(204).steps()))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(
            register,
            installation,
            account,
            by=TESTER,
            url=receiver.url("/held"),
            event_types=["*"],
            url_verification=True,
        )
        receiver.wait_for(1)
        with pytest.raises(
            TooBusy, match="1 URLs can be verified at once for all accounts, and none of them is left for this one"
        ):
            register(installation, account, by=TESTER, url=receiver.url("/"), event_types=["*"], url_verification=True)
        held.open()
        first.result(30)
    register(installation, account, by=TESTER, url=receiver.url("/"), event_types=["*"], url_verification=True)
    assert len(stored(database)) == 2


def test_accounts_whose_verifications_hang_leave_one_to_the_next_account(
    database: Engine, receiver: Receiver, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.webhooks.url_verification.AT_ONCE", 6)
    held = receiver.gate()
    receiver.script("/held", (held, *Answer(204).steps()))

    def make(owner: UUID) -> Registered:
        return register(
            installation, owner, by=TESTER, url=receiver.url("/held"), event_types=["*"], url_verification=True
        )

    accounts = [make_account(database, name) for name in ("one", "two", "three")]
    with ThreadPoolExecutor(6) as pool:
        made = [pool.submit(make, accounts[0]) for _ in range(4)]
        receiver.wait_for(4)
        made.append(pool.submit(make, accounts[1]))
        receiver.wait_for(5)
        with pytest.raises(TooBusy):
            make(accounts[1])
        made.append(pool.submit(make, accounts[2]))
        receiver.wait_for(6)
        held.open()
        for each in made:
            each.result(30)


def test_ten_verifications_of_one_account_leave_those_of_others_untouched(
    database: Engine, account: UUID, receiver: Receiver, installation: Installation
) -> None:
    held = receiver.gate()
    receiver.script("/held", (held, *Answer(204).steps()))
    mine = register(installation, account, by=TESTER, url=receiver.url("/"), event_types=["*"])

    def make(owner: Any, path: str) -> Registered:
        return register(
            installation, owner, by=TESTER, url=receiver.url(path), event_types=["*"], url_verification=True
        )

    with ThreadPoolExecutor(ACCOUNT_AT_ONCE) as pool:
        first = [pool.submit(make, account, "/held") for _ in range(ACCOUNT_AT_ONCE)]
        receiver.wait_for(ACCOUNT_AT_ONCE)
        for _ in range(10 - ACCOUNT_AT_ONCE):
            with pytest.raises(AccountAtLimit, match=r"^4 URLs of this account are being verified, the most at once"):
                make(account, "/held")
        with pytest.raises(AccountAtLimit):
            change(installation, account, mine.id, by=TESTER, url=receiver.url("/held"), url_verification=True)
        other = make(make_account(database, "other"), "/")
        change(installation, None, other.id, by=TESTER, url=receiver.url("/new"), url_verification=True)
        held.open()
        for made in first:
            made.result(30)
    make(account, "/")
    assert len(stored(database)) == 1 + ACCOUNT_AT_ONCE + 2


def test_webhooks_of_a_dialect_are_found_by_it_alone(
    database: Engine, account: UUID, installation: Installation
) -> None:
    url = "https://hooks.example.com/"
    native = register(installation, account, by=TESTER, url=url, event_types=["*"])
    vendors = register(
        installation, account, by=TESTER, url=url, event_types=[], dialect="vendor", app="shop", dialect_fields={"a": 1}
    )
    with installation.transaction() as session:
        webhooks = Webhooks(session, installation)
        owner = session.get_one(Account, account)
        assert [found.id for found in webhooks.list(owner)] == [native.id, vendors.id]
        assert [found.id for found in webhooks.list(owner, dialect="vendor", app="shop")] == [vendors.id]
        assert webhooks.list(owner, dialect="vendor", app="other") == []
        assert webhooks.get_of("vendor", owner, vendors.webhook.number).dialect_fields == {"a": 1}
        assert webhooks.get_of("vendor", owner, vendors.id).id == vendors.id
        for dialect, identifier in (("vendor", native.id), ("vendor", native.webhook.number), ("other", vendors.id)):
            with pytest.raises(NotFound):
                webhooks.get_of(dialect, owner, identifier)
