"""Two installations in one process: webhooks and events of one never meet the other, whichever way they come."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any

import pytest
import redis
import requests
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher import configure
from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.asgi import create_app
from dispatcher.encryption.vault import Place
from dispatcher.errors import ConfigurationError, WrongDatabase
from dispatcher.events.enqueue import enqueue, enqueue_many
from dispatcher.events.event import Accepted, Event
from dispatcher.ids import new_id
from dispatcher.installation import Installation
from dispatcher.wake import DELIVER
from dispatcher.webhooks.registration import register
from tests.factories import TESTER, deliver_all, make_account, rows
from tests.integration.api.conftest import running_app
from tests.integration.cli.conftest import Cli
from tests.process_table import eventually
from tests.receiver import Receiver
from workers.celery_app import make_celery


@pytest.fixture
def both(installation: Installation, other: Installation, receiver: Receiver) -> tuple[Installation, Installation]:
    """Each with an account acme, whose one webhook takes all events: at `/one`, and at `/two`."""
    for made, path in ((installation, "/one"), (other, "/two")):
        make_account(made.engine)
        register(made, account_of(made), by=TESTER, url=receiver.url(path), event_types=["*"], name=path)
    return installation, other


def account_of(made: Installation) -> Any:
    return rows(made.engine, "SELECT id FROM dispatcher.accounts WHERE name = 'acme'")[0].id


def bodies(receiver: Receiver, path: str) -> list[Any]:
    return [json.loads(request.body) for request in receiver.at(path)]


def events(made: Installation) -> list[str]:
    return [row.type for row in rows(made.engine, "SELECT type FROM dispatcher.events ORDER BY id")]


def wakes(made: Installation) -> int:
    with redis.Redis.from_url(made.settings.broker_url.get_secret_value()) as client:
        return int(client.llen("deliver"))  # type: ignore[arg-type]


def deliver_both(both: tuple[Installation, Installation]) -> None:
    for made in both:
        deliver_all(made.settings)


def test_an_event_goes_to_the_installation_of_its_producer(
    both: tuple[Installation, Installation], receiver: Receiver
) -> None:
    one, two = both
    assert enqueue("a", 1, account="acme", producer=one).deliveries == 1
    assert (wakes(one), wakes(two)) == (1, 0)
    (receipt,) = enqueue_many([Event(type="b", data=2, account="acme")], producer=two)
    assert isinstance(receipt, Accepted)
    assert receipt.deliveries == 1
    assert (wakes(one), wakes(two)) == (1, 1)
    assert (events(one), events(two)) == (["a"], ["b"])
    deliver_both(both)
    assert (bodies(receiver, "/one"), bodies(receiver, "/two")) == ([[1]], [[2]])


def test_a_session_of_one_is_refused_by_the_other_also_once_it_is_known(
    both: tuple[Installation, Installation],
) -> None:
    one, two = both
    for _ in range(2):
        with Session(one.engine) as session, session.begin():
            enqueue("a", 1, account="acme", session=session, producer=one)
            with pytest.raises(WrongDatabase):
                enqueue("a", 1, account="acme", session=session, producer=two)
    assert (events(one), events(two)) == (["a", "a"], [])
    assert (wakes(one), wakes(two)) == (1, 0)


def test_where_events_go_can_be_chosen_in_code_and_again(
    both: tuple[Installation, Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = both
    monkeypatch.setenv("DATABASE_URL", "mysql://a.program's/own")
    for made in (one, two):
        urls = {name: getattr(made.settings, name) for name in ("database_url", "broker_url")}
        producer = configure(**urls)
        assert enqueue("a", 1, account="acme").deliveries == 1
        (receipt,) = enqueue_many([Event(type="b", data=2, account="acme")])
        assert isinstance(receipt, Accepted)
        with pytest.raises(ConfigurationError):
            configure(**{**urls, "broker_url": "amqp://"})
        enqueue("c", 1, account="acme")  # as before
        assert producer.installation_id is None
        with Session(made.engine) as session, session.begin():
            enqueue("d", 1, account="acme", session=session)
        assert producer.installation_id is not None
    assert [events(made) for made in both] == [["a", "b", "c", "d"]] * 2
    assert (wakes(one), wakes(two)) == (1, 1)


def test_two_brokers_of_one_database_are_both_woken_by_one_transaction(
    both: tuple[Installation, Installation],
) -> None:
    one, two = both
    beside = Installation(one.settings.model_copy(update={"broker_url": two.settings.broker_url}))
    try:
        with Session(one.engine) as session, session.begin():
            enqueue("a", 1, account="acme", session=session, producer=one)
            enqueue("a", 1, account="acme", session=session, producer=beside)
            assert (wakes(one), wakes(two)) == (0, 0)
    finally:
        beside.close()
    assert (wakes(one), wakes(two)) == (1, 1)


@dataclass(frozen=True, slots=True)
class Client:
    """An API as a key of its own account sees it."""

    origin: str
    token: str

    def get(self, path: str, token: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return requests.get(self.origin + path, headers=headers, timeout=30)

    def post(self, path: str, document: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.post(self.origin + path, headers=headers, json=document, timeout=30)

    def ask_for_token(self, key: str) -> requests.Response:
        identifier, _, secret = key.partition(".")
        form = {"grant_type": "client_credentials", "client_id": identifier, "client_secret": secret}
        return requests.post(f"{self.origin}/oauth2/token", data=form, timeout=30)


@pytest.fixture
def apis(both: tuple[Installation, Installation]) -> Iterator[tuple[Client, Client]]:
    """The APIs of both, in this process."""
    tokens = []
    for made in both:
        with made.transaction() as session:
            scopes = [Scope.SEND, Scope.READ, Scope.MANAGE]
            tokens.append(create_key(session, by=TESTER, account="acme", scopes=scopes).token)
    with running_app(create_app(both[0])) as one, running_app(create_app(both[1])) as two:
        yield Client(one, tokens[0]), Client(two, tokens[1])


def test_two_apis_take_events_and_show_webhooks_each_of_its_own(
    both: tuple[Installation, Installation], apis: tuple[Client, Client], receiver: Receiver
) -> None:
    for api, made, path in zip(apis, both, ("/one", "/two"), strict=True):
        sent = api.post("/v1/events", {"type": "over.http", "data": path})
        assert (sent.status_code, sent.json()["deliveries"]) == (202, 1)
        many = api.post("/v1/events/batch", {"events": [{"type": "in.a.batch", "data": path}]})
        assert (many.status_code, many.json()["accepted"]) == (200, 1)
        assert [webhook["name"] for webhook in api.get("/v1/webhooks").json()["items"]] == [path]
        assert events(made) == ["over.http", "in.a.batch"]
        assert wakes(made) == 1
    deliver_both(both)
    assert (bodies(receiver, "/one"), bodies(receiver, "/two")) == ([["/one"]] * 2, [["/two"]] * 2)


def test_a_key_or_token_of_one_opens_nothing_of_the_other(apis: tuple[Client, Client]) -> None:
    one, two = apis
    assert two.ask_for_token(one.token).status_code == 401
    for shown in (one.token, one.ask_for_token(one.token).json()["access_token"]):
        assert one.get("/v1/webhooks", shown).status_code == 200
        assert two.get("/v1/webhooks", shown).status_code == 401


def test_dialects_serve_the_installation_of_the_api_that_they_are_mounted_in(
    both: tuple[Installation, Installation], apis: tuple[Client, Client]
) -> None:
    paths = "/flexengage/v1/acme/webhooks", "/sinch/v1/projects/acme/apps/app1/webhooks", "/bulksms/v1/webhooks"
    made = apis[0].post(paths[0], {"endpoint": "https://example.com/", "events": ["A"]})
    assert made.status_code == 201, made.text
    assert [len(api.get(paths[0]).json()) for api in apis] == [1, 0]
    for path in paths[1:]:
        assert [api.get(path).status_code for api in apis] == [200, 200]
    assert [len(rows(one.engine, "SELECT 1 FROM dispatcher.webhooks WHERE dialect IS NOT NULL")) for one in both] == [
        1,
        0,
    ]


def test_the_command_line_works_on_the_installation_of_its_call(
    both: tuple[Installation, Installation], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for made, path in zip(both, ("/one", "/two"), strict=True):
        monkeypatch.setenv("DATABASE_URL", made.settings.database_url.get_secret_value())
        monkeypatch.setenv("BROKER_URL", made.settings.broker_url.get_secret_value())
        monkeypatch.setenv("DISPATCHER_ENCRYPTION_KEYS", made.settings.encryption_keys.get_secret_value())
        (webhook,) = cli("webhook", "list", "--json").document
        assert webhook["name"] == path
        cli("trigger", "from.cli", "--account", "acme")
        cli("trigger", "to.one", "--webhook", webhook["id"])
        assert events(made) == ["from.cli", "to.one"]
        assert wakes(made) == 1


def test_tasks_of_two_workers_deliver_each_its_own(both: tuple[Installation, Installation], receiver: Receiver) -> None:
    one, two = (make_celery(made.settings) for made in both)
    for made, number in zip(both, (1, 2), strict=True):
        enqueue("a", number, account="acme", producer=made)
    assert two.tasks[DELIVER].apply().result["delivered"] == 1
    assert (bodies(receiver, "/one"), bodies(receiver, "/two")) == ([], [[2]])
    assert one.tasks[DELIVER].apply().result["delivered"] == 1
    assert (bodies(receiver, "/one"), bodies(receiver, "/two")) == ([[1]], [[2]])


def test_what_the_environment_says_is_asked_for_by_nobody_who_was_given_an_installation(
    both: tuple[Installation, Installation], apis: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://wrong")
    for api in apis:
        assert api.get("/readyz").json()["status"] == "ready"
        assert api.post("/v1/events", {"type": "a", "data": 1}).status_code == 202
    _, two = both
    enqueue("b", 1, account="acme", producer=two)
    assert events(two) == ["a", "b"]


def test_an_installation_keeps_so_many_idle_connections_and_closes_them(
    installation: Installation, database: Engine
) -> None:
    """One for transactions, one for events, and one for what is asked about events; none for its vault."""
    make_account(database)
    counted = Installation(installation.settings, name="counted")

    def connections() -> int:
        asked = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'counted'"
        return int(rows(database, asked)[0].n)

    place = Place("webhooks", "url_ciphertext", new_id())
    assert connections() == 0
    with counted.transaction() as session:
        session.connection()
        assert counted.vault.decrypt(counted.vault.encrypt("word", place), place) == "word"
    assert eventually(lambda: connections() == 1)
    for _ in range(3):
        enqueue("a", 1, account="acme", producer=counted)
    assert connections() == 3
    counted.close()
    assert eventually(lambda: connections() == 0)


def test_many_who_need_the_vault_at_once_do_not_wait_for_each_others_connections(
    installation: Installation, database: Engine
) -> None:
    """Each holds a connection already when it asks; there are 15."""
    fresh, together = Installation(installation.settings), Barrier(15)

    def ask(_: int) -> bytes:
        with fresh.transaction() as session:
            session.connection()
            together.wait(30)
            return fresh.vault.digest_secret

    with ThreadPoolExecutor(15) as pool:
        asked = list(pool.map(ask, range(15)))
    fresh.close()
    assert len(set(asked)) == 1
