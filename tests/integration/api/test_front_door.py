"""What a request costs before its work begins, and in which order it is refused: by the shortcut and by the route."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any
from uuid import UUID

import anyio
import pytest
import requests
from anyio import to_thread
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope, Shown, shown_by
from dispatcher.api.events import shortcut
from dispatcher.asgi import create_app
from dispatcher.db.prepared import Prepared
from dispatcher.events import waiting_room
from dispatcher.events.waiting_room import WaitingRoom
from dispatcher.installation import Installation
from dispatcher.web import authentication, known_callers
from dispatcher.web.guesses import Guesses
from dispatcher.web.known_callers import KnownCallers
from dispatcher.web.middleware import MAX_BODY_BYTES
from tests.factories import change
from tests.integration.api.conftest import Api, MakeKey, Restarted
from tests.integration.events.fronts import held_groups
from tests.process_table import eventually

EVENT = {"type": "message.sent", "data": {"id": 1}}


@pytest.fixture(params=["shortcut", "route"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "route":
        monkeypatch.setattr(shortcut, "_PATH", "/nowhere")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys for which the database was asked who calls."""
    asked: list[str] = []
    ask = authentication._caller

    def noted(installation: Installation, shown: Shown) -> Any:
        asked.append(shown.mark)
        return ask(installation, shown)

    monkeypatch.setattr(authentication, "_caller", noted)
    return asked


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch, restarted: Restarted) -> None:
    """One request a minute for each key."""
    monkeypatch.setenv("DISPATCHER_API_REQUESTS_PER_MINUTE", "1")
    restarted()


def hold(monkeypatch: pytest.MonkeyPatch, number: int) -> list[object]:
    """Lets nobody's key be looked at before so many requests have come; returns who came."""
    came: list[object] = []
    admit, all_are_here = Guesses.admit, Event()

    async def admitted(guesses: Guesses, request: Any, installation: Installation, shown: Shown) -> None:
        await admit(guesses, request, installation, shown)
        came.append(shown)
        if len(came) == number:
            all_are_here.set()

    look = KnownCallers._look

    async def held(looks: Any, *given: Any) -> Any:
        await asyncio.to_thread(all_are_here.wait, 30)
        return await look(looks, *given)

    monkeypatch.setattr(Guesses, "admit", admitted)
    monkeypatch.setattr(KnownCallers, "_look", held)
    return came


def tokens_of(key: str, installation: Installation, number: int, after: timedelta = timedelta(minutes=9)) -> list[str]:
    """Access tokens of this key that end at so many different times."""
    key_id, end = UUID(key.partition(".")[0]), datetime.now(UTC) + after
    return [installation.token_mint.access_token(key_id, end + timedelta(seconds=more)) for more in range(number)]


def test_requests_are_refused_in_this_order_key_rate_scope_body(
    api: Api, make_key: MakeKey, limited: None, broker: object
) -> None:
    too_long, reader = b"x" * (MAX_BODY_BYTES + 1), make_key("acme", Scope.READ)
    assert api.post_event(too_long, token="unknown").status_code == 401
    assert api.post_event(too_long, token=reader).status_code == 403
    assert api.post_event(too_long, token=reader).status_code == 429
    sender = make_key()
    assert api.post_event(too_long, token=sender).status_code == 413
    refused = api.post_event(EVENT, token=sender)
    assert (refused.status_code, refused.headers["Content-Type"]) == (429, "application/problem+json")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_a_caller_who_is_known_costs_no_query(
    api: Api, make_key: MakeKey, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token, statements = make_key("acme", Scope.SEND, Scope.READ), []
    api.post_event(EVENT, token=token)
    fetch = Prepared.fetch
    monkeypatch.setattr(Prepared, "fetch", lambda *given: statements.append(given[0]._name) or fetch(*given))
    for _ in range(3):
        assert api.post_event(EVENT, token=token).status_code == 202
        assert api.call("GET", "/v1/events", token=token).status_code == 200
    assert looks == [token]
    assert statements == ["dispatcher_store"] * 3


def test_requests_that_come_at_once_share_one_look(api: Api, token: str, looks: list[str]) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: api.post_event(EVENT, token=token).status_code, range(16)))
    assert answers == [202] * 16
    assert len(looks) <= 2


def test_so_they_do_however_they_write_their_key(
    api: Api, token: str, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    came = hold(monkeypatch, 16)

    def spelt(place: int) -> int:
        return api.post_event(EVENT, token=f"{token[:place]}-{token[place:]}").status_code

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(spelt, range(16))) == [202] * 16
    assert len(came) == 16
    assert len(looks) == 1


def test_so_they_do_with_all_tokens_of_their_key_and_each_is_known_then(
    api: Api, token: str, looks: list[str], installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tokens_of(token, installation, 20)
    came = hold(monkeypatch, 16)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda token: api.post_event(EVENT, token=token).status_code, tokens[:16]))
    assert answers == [202] * 16
    assert len(came) == 16
    assert [api.post_event(EVENT, token=token).status_code for token in tokens] == [202] * 20
    assert looks == [UUID(token.partition(".")[0]).hex]


def test_nobody_shows_what_stands_for_a_key_by_its_id(
    api: Api, token: str, looks: list[str], installation: Installation
) -> None:
    """Ids of keys are no secrets."""
    (made,) = tokens_of(token, installation, 1)
    identifier = UUID(token.partition(".")[0])
    forged = [f"{spelt}{rest}" for spelt in (identifier, identifier.hex) for rest in (".None", ".", "", ".none")]
    assert api.post_event(EVENT, token=made).status_code == 202
    assert [api.post_event(EVENT, token=one).status_code for one in forged] == [401] * len(forged)
    assert {Shown(identifier, None).mark} & {shown.mark for one in forged if (shown := shown_by(one))} == set()


def test_a_token_whose_time_is_over_shares_a_look_with_no_effect_on_others(
    api: Api, token: str, looks: list[str], installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid, over = tokens_of(token, installation, 8), tokens_of(token, installation, 8, after=timedelta(minutes=-1))
    came = hold(monkeypatch, 16)
    with ThreadPoolExecutor(16) as threads:
        sent = threads.map(lambda token: api.post_event(EVENT, token=token).status_code, [*over, *valid])
        assert list(sent) == [401] * 8 + [202] * 8
    assert len(came) == 16
    assert len(looks) == 1


def test_of_tokens_of_one_key_that_is_known_one_whose_time_is_over_is_still_refused(
    api: Api, token: str, looks: list[str], installation: Installation
) -> None:
    (valid,) = tokens_of(token, installation, 1)
    (over,) = tokens_of(token, installation, 1, after=timedelta(minutes=-1))
    assert api.post_event(EVENT, token=valid).status_code == 202
    refused = api.post_event(EVENT, token=over)
    assert (refused.status_code, "expired" in refused.headers["WWW-Authenticate"]) == (401, True)


def test_who_is_known_and_may_change_nothing_or_not_so_much_costs_no_look(
    api: Api, make_key: MakeKey, operator: str, looks: list[str], broker: object
) -> None:
    reader, manager = (make_key("acme", Scope.READ, scope) for scope in (Scope.SEND, Scope.MANAGE))
    limits = {"writes_per_minute": 3}
    assert api.call("PUT", "/v1/accounts/acme/limits", limits, token=operator).status_code == 200
    for token, statuses in ((reader, [403] * 6), (manager, [404] * 3 + [429] * 3)):
        assert api.call("GET", "/v1/webhooks", token=token).status_code == 200
        before = len(looks)
        answers = [api.call("DELETE", f"/v1/webhooks/{UUID(int=1)}", token=token) for _ in range(6)]
        assert [answer.status_code for answer in answers] == statuses
        assert len(looks) - before == statuses.count(404)


@pytest.mark.parametrize("path", ["/oauth2/token", "/zipwhip/user/login", "/zipwhip/webhook/list"])
def test_so_they_do_for_what_stands_for_their_key_and_with_it(
    api: Api, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    key, _, secret = make_key("acme", Scope.READ).partition(".")
    login = {"username": key, "password": secret}
    session = requests.post(f"{api.origin}/zipwhip/user/login", data=login, timeout=30).json()["response"]
    form = {"grant_type": "client_credentials", "client_id": key, "client_secret": secret, **login, "session": session}
    looks: list[object] = []
    for name in ("authenticate", "caller_of_key"):
        look = getattr(authentication, name)
        monkeypatch.setattr(authentication, name, lambda *given, look=look: looks.append(1) or look(*given))
    came = hold(monkeypatch, 16)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: requests.post(api.origin + path, data=form, timeout=30), range(16)))
    assert [answer.status_code for answer in answers] == [200] * 16
    assert not any("false" in answer.text for answer in answers)
    assert len(came) == 16
    assert len(looks) == 1


def test_who_is_known_is_asked_for_again_after_a_few_seconds(
    api: Api, token: str, database: Engine, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_callers, "KEPT_SECONDS", 0.0)
    api.post_event(EVENT, token=token)
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now()")
    assert api.post_event(EVENT, token=token).status_code == 401
    assert api.post_event(EVENT, token=token).status_code == 401  # refusals are not kept
    assert len(looks) == 3


def test_nobody_is_known_longer_than_a_key_is_valid(
    api: Api, make_key: MakeKey, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_callers, "KEPT_SECONDS", 3_600.0)
    token = make_key(valid_for=timedelta(days=1))
    key = UUID(token.partition(".")[0])
    change(database, "UPDATE dispatcher.api_keys SET expires_at = now() + interval '0.3 s' WHERE id = :id", id=key)
    assert api.post_event(EVENT, token=token).status_code == 202
    assert eventually(lambda: api.post_event(EVENT, token=token).status_code == 401)


def test_for_more_than_sending_and_reading_the_database_is_always_asked(
    api: Api, make_key: MakeKey, database: Engine
) -> None:
    token = make_key("acme", Scope.READ, Scope.MANAGE)
    assert api.call("GET", "/v1/webhooks", token=token).status_code == 200
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now()")
    assert api.call("GET", "/v1/webhooks", token=token).status_code == 200
    assert api.call("POST", "/v1/webhooks", {}, token=token).status_code == 401
    assert api.call("POST", "/v1/redeliveries", {"filter": {}}, token=token).status_code == 401


def test_what_revokes_a_key_or_suspends_its_account_forgets_who_is_known(
    api: Api, make_key: MakeKey, operator: str
) -> None:
    first, second = make_key(), make_key()
    assert {api.post_event(EVENT, token=token).status_code for token in (first, second)} == {202}
    assert api.call("DELETE", f"/v1/keys/{UUID(first.partition('.')[0])}", token=operator).status_code == 204
    assert api.post_event(EVENT, token=first).status_code == 401
    assert api.post_event(EVENT, token=second).status_code == 202
    assert api.call("POST", "/v1/accounts/acme/suspend", token=operator).status_code == 200
    assert api.post_event(EVENT, token=second).status_code == 403


def test_too_many_events_that_wait_are_unavailable_for_the_moment(
    api: Api, token: str, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_room, "ROOM", 0)
    answer = api.post_event(EVENT, token=token)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["detail"] == "too many events of this account are waiting to be stored"


def test_clients_that_come_at_once_share_a_statement(api: Api, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[object] = []
    add = WaitingRoom.add
    monkeypatch.setattr(WaitingRoom, "add", lambda room, one: (add(room, one), came.append(one)))
    with held_groups() as held, ThreadPoolExecutor(9) as threads:
        first = threads.submit(api.post_event, EVENT, token=token)
        held.wait()
        others = [threads.submit(api.post_event, EVENT, token=token) for _ in range(8)]
        assert eventually(lambda: len(came) == 9)
        held.let_go()
        answers: list[requests.Response] = [call.result(20) for call in [first, *others]]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["event_id"] for answer in answers}) == 9
    assert held.sizes == [1, 8]


def test_a_parameter_is_refused_as_everywhere(api: Api, token: str) -> None:
    answer = api.call("POST", "/v1/events?colour=red", EVENT, token=token)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "colour")


def test_none_of_the_frameworks_threads_waits_for_the_connection_of_another(installation: Installation) -> None:
    async def threads() -> int:
        return int(to_thread.current_default_thread_limiter().total_tokens)

    serving = create_app().state.serving
    held = [serving.installation.engine.raw_connection() for _ in range(anyio.run(threads))]
    assert len(held) == 40
    for connection in held:
        connection.close()
    serving.close()
