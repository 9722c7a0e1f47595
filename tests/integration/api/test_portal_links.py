"""Links to the portal: who gets one, for what, and what ends it."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import Call
from dispatcher.accounts.api_keys import Scope
from dispatcher.accounts.lifecycle import suspend
from dispatcher.accounts.portal_links import take
from dispatcher.accounts.sessions import ConsoleSession, find
from dispatcher.db.models import PortalLink
from dispatcher.errors import LinkGone
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.factories import TESTER, make_account, make_portal_link, rows
from tests.integration.api.conftest import Api, MakeKey, errors

LINKS, SESSIONS = "/v1/accounts/acme/portal-links", "/v1/accounts/acme/portal-sessions"
APP = "https://app.example.com"


@pytest.fixture(autouse=True)
def _portal(console_on: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_PORTAL_ANCESTORS", APP)
    monkeypatch.setenv("DISPATCHER_PORTAL_RETURN_ORIGINS", f"{APP}, https://www.example.com:8443")


def taken(installation: Installation, url: str) -> tuple[ConsoleSession, str]:
    identifier, _, secret = urlsplit(url).fragment.partition(".")
    with installation.transaction() as session:
        begun, shown, _ = take(session, UUID(identifier), secret, installation.clock(), call=Call(UUID(int=1), None))
    return begun, shown


def is_open(installation: Installation, secret: str) -> bool:
    with installation.transaction() as session:
        return find(session, "portal", secret, installation.clock()) is not None


def test_a_link_lets_a_user_of_the_account_in_with_what_was_chosen(
    api: Api, manager: str, installation: Installation
) -> None:
    body = {
        "scopes": ["read", "secrets", "manage"],
        "user": "user-17",
        "embed_origin": APP,
        "return_url": f"{APP}/settings?tab=hooks",
        "theme": "dark",
        "path": "/webhooks",
        "expires_in": 60,
        "session_seconds": 120,
    }
    answer = api.call("POST", LINKS, body, token=manager)
    assert answer.status_code == 201
    assert answer.json()["url"].startswith(f"https://hooks.example/portal/enter#{answer.json()['id']}.")
    begun, _ = taken(installation, answer.json()["url"])
    assert begun.scopes == {"read", "manage", "secrets"}
    assert (begun.account, begun.user_label, begun.theme) == ("acme", "user-17", "dark")
    assert (begun.embed_origin, begun.return_url) == (APP, f"{APP}/settings?tab=hooks")
    assert (begun.expires_at - begun.created_at).total_seconds() == 120
    assert begun.key_id == UUID(manager.partition(".")[0])


def test_a_link_lasts_five_minutes_and_its_session_eight_hours_unless_something_else_is_chosen(
    api: Api, manager: str, database: Engine
) -> None:
    api.call("POST", LINKS, {"scopes": ["read"]}, token=manager)
    with Session(database) as session:
        (link,) = session.query(PortalLink).all()
    assert (link.expires_at - link.created_at).total_seconds() == 300
    assert (link.session_seconds, link.path, link.embed_origin) == (8 * 3600, "", None)


def test_a_key_that_may_change_nothing_makes_no_link_and_ends_no_session(api: Api, make_key: MakeKey) -> None:
    for token in (make_key("acme", Scope.READ, Scope.SEND), make_key(None, Scope.OBSERVE)):
        assert api.call("POST", LINKS, {"scopes": ["read"]}, token=token).status_code == 403
        assert api.call("DELETE", SESSIONS, token=token).status_code == 403


def test_a_link_may_no_more_than_the_key_that_makes_it(api: Api, make_key: MakeKey, database: Engine) -> None:
    answer = api.call("POST", LINKS, {"scopes": ["read", "manage"]}, token=make_key("acme", Scope.MANAGE))
    assert answer.status_code == 403
    assert errors(answer) == {"scopes": "must not go beyond the API key's, which lacks `read`"}
    assert rows(database, "SELECT id FROM dispatcher.portal_links") == []


def test_another_accounts_key_finds_no_account_and_an_operators_every_one(
    api: Api, make_key: MakeKey, operator: str, manager: str, installation: Installation
) -> None:
    other = make_key("other", Scope.READ, Scope.MANAGE)
    made = api.call("POST", LINKS, {"scopes": ["read"]}, token=operator)
    _, secret = taken(installation, made.json()["url"])
    for path in (LINKS, LINKS.replace("acme", "nobody")):
        assert api.call("POST", path, {"scopes": ["read"]}, token=other).status_code == 404
    assert api.call("DELETE", SESSIONS, token=other).status_code == 404
    assert is_open(installation, secret)
    assert api.call("DELETE", SESSIONS, token=manager).status_code == 204
    assert not is_open(installation, secret)


def test_sessions_and_links_end_at_once_when_asked_or_with_the_key(
    api: Api, manager: str, operator: str, installation: Installation
) -> None:
    made = [api.call("POST", LINKS, {"scopes": ["read"]}, token=manager).json()["url"] for _ in range(4)]
    _, first = taken(installation, made[0])
    assert api.call("DELETE", SESSIONS, token=operator).status_code == 204
    assert not is_open(installation, first)
    with pytest.raises(LinkGone):
        taken(installation, made[1])
    more = [api.call("POST", LINKS, {"scopes": ["read"]}, token=manager).json()["url"] for _ in range(2)]
    _, second = taken(installation, more[0])
    assert is_open(installation, second)
    assert api.call("DELETE", f"/v1/keys/{manager.partition('.')[0]}", token=operator).status_code == 204
    assert not is_open(installation, second)
    with pytest.raises(LinkGone):
        taken(installation, more[1])


def test_what_cannot_be_chosen_is_refused_by_its_name(api: Api, manager: str, database: Engine) -> None:
    wrong = {
        "scopes": ["manage"],
        "user": "a\nb",
        "expires_in": 3601,
        "session_seconds": 86_401,
        "embed_origin": "https://evil.example",
        "return_url": f"{APP}.evil.example/",
        "theme": "pink",
        "path": "//evil.example",
        "key": "unknown",
    }
    for field, value in wrong.items():
        answer = api.call("POST", LINKS, {"scopes": ["read"], field: value}, token=manager)
        assert (answer.status_code, list(errors(answer))) == (422, [field])
    assert rows(database, "SELECT id FROM dispatcher.portal_links") == []


def test_an_account_has_no_more_sessions_and_unused_links_than_its_limit(
    api: Api, manager: str, operator: str, installation: Installation
) -> None:
    limits = {"portal_sessions": 2}
    assert api.call("PUT", "/v1/accounts/acme/limits", limits, token=operator).ok
    first = api.call("POST", LINKS, {"scopes": ["read"]}, token=manager).json()["url"]
    taken(installation, first)
    assert api.call("POST", LINKS, {"scopes": ["read"]}, token=manager).status_code == 201
    refused = api.call("POST", LINKS, {"scopes": ["read"]}, token=operator)
    assert refused.status_code == 409
    assert "its limit `portal_sessions`" in refused.json()["detail"]
    assert api.call("DELETE", SESSIONS, token=manager).status_code == 204
    assert api.call("POST", LINKS, {"scopes": ["read"]}, token=manager).status_code == 201


def test_a_suspended_account_gets_no_link(api: Api, operator: str, database: Engine) -> None:
    make_account(database)
    with Session(database) as session, session.begin():
        suspend(session, find_account(session, "acme"), by=TESTER)
    assert api.call("POST", LINKS, {"scopes": ["read"]}, token=operator).status_code == 409


def test_without_a_portal_there_are_no_links_but_sessions_can_be_ended(
    api: Api, manager: str, database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, restarted: Any
) -> None:
    make_portal_link(database, settings)
    monkeypatch.setenv("DISPATCHER_CONSOLE", "off")
    restarted()
    refused = api.call("POST", LINKS, {"scopes": ["read"]}, token=manager)
    assert (refused.status_code, "DISPATCHER_CONSOLE=on" in refused.json()["detail"]) == (409, True)
    assert api.call("DELETE", SESSIONS, token=manager).status_code == 204
    (entry,) = rows(database, "SELECT detail FROM dispatcher.audit WHERE action = 'account.portal_sessions_ended'")
    assert entry.detail == {"sessions": 0, "links": 1}
