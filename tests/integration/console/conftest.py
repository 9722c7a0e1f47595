"""A server with console and portal, people who are signed in, and things of two accounts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from gettext import NullTranslations
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import requests
from fastapi import APIRouter, FastAPI
from jinja2 import ChoiceLoader, DictLoader
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from dispatcher import enqueue
from dispatcher.accounts import portal_links
from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import Call
from dispatcher.accounts.api_keys import Scope, authenticate, create_key
from dispatcher.accounts.portal_links import Link
from dispatcher.accounts.sessions import begin, begin_console
from dispatcher.console import app as console_app
from dispatcher.console import rendering
from dispatcher.console.app import face
from dispatcher.console.kinds import Kind
from dispatcher.db.models import BrowserSession
from dispatcher.deliveries.bulk_redelivery import order
from dispatcher.deliveries.selection import Selection
from dispatcher.ids import new_id
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.factories import TESTER, deliver_all, make_account, make_webhook, rows
from tests.installations import installation_for
from tests.integration.api.conftest import Running, make_key, operator, restarted, running, server
from tests.integration.workers.parked import until
from tests.receiver import Receiver

__all__ = ["make_key", "operator", "restarted", "running", "server"]

SAME = {"Sec-Fetch-Site": "same-origin"}


@dataclass(slots=True)
class Browser:
    """One that calls pages as a person's does: with its cookies, and saying from where."""

    origin: str
    kind: Kind
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> requests.Response:
        return self._call("GET", path, headers)

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> requests.Response:
        return self._call("POST", path, {**SAME, **headers}, data=fields or {})

    def _call(self, method: str, path: str, headers: dict[str, str], **more: Any) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.origin}/{self.kind}{path}"
        answer = requests.request(
            method, url, headers=named, cookies=self.cookies, allow_redirects=False, timeout=30, **more
        )
        self.cookies.update(answer.cookies.get_dict())
        return answer


@pytest.fixture
def environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """That of all tests, with the console switched on."""
    added = {"DISPATCHER_CONSOLE": "on", "DISPATCHER_CONSOLE_URL": "http://127.0.0.1"}
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    return environment | added


@dataclass(slots=True)
class People:
    """Whoever comes to the server."""

    origin: str
    installation: Installation

    def stranger(self, kind: Kind = Kind.CONSOLE) -> Browser:
        return Browser(self.origin, kind)

    def operator(self, scope: Scope = Scope.OPERATOR, *, proved: bool = False) -> Browser:
        """Somebody who is signed in to the console."""
        with self.installation.transaction() as session:
            token = create_key(session, by=TESTER, account=None, scopes=[scope]).token
            caller = authenticate(session, token)
            assert caller is not None
            _, secret = begin_console(session, caller, self.installation.clock(), call=Call(new_id(), "127.0.0.1"))
            if proved:
                session.execute(text("UPDATE dispatcher.sessions SET proved_at = now()"))
        return Browser(self.origin, Kind.CONSOLE, {"console": secret})

    def customer(self, account: str = "acme", *scopes: str) -> Browser:
        """Somebody of the account who is signed in to the portal."""
        link = self.link(Kind.PORTAL, account, *scopes)
        with self.installation.transaction() as session:
            call = Call(new_id(), "127.0.0.1")
            _, secret, _ = portal_links.take(session, link.id, link.secret, self.installation.clock(), call=call)
        return Browser(self.origin, Kind.PORTAL, {"portal": secret})

    def link(self, kind: Kind, account: str | None = None, *scopes: str, **chosen: Any) -> Link:
        usual = ("operator",) if kind is Kind.CONSOLE else ("read", "manage", "secrets")
        with self.installation.transaction() as session:
            query = text("SELECT id FROM dispatcher.accounts WHERE name = :name")
            wanted: dict[str, Any] = {
                "kind": kind.value,
                "key_id": None,
                "account_id": session.scalar(query, {"name": account}),
                "scopes": scopes or usual,
                "user": "user-7",
                "expires_in": timedelta(minutes=5),
                "session_seconds": 600,
                "embed_origin": None,
                "return_url": None,
                "theme": None,
                "path": "/webhooks",
                "now": self.installation.clock(),
                "by": TESTER,
            }
            return portal_links.make(session, **wanted | chosen)


@pytest.fixture
def people(server: str, settings: Settings, database: Engine) -> People:
    make_account(database, "acme")
    return People(server, installation_for(settings))


@dataclass(frozen=True, slots=True)
class Things:
    """What an account has, by the names of the parameters in paths. A new page whose path has another parameter needs
    its thing here: so the walks over all routes include it."""

    account: str
    ids: dict[str, UUID | str]


def things_of(database: Engine, settings: Settings, receiver: Receiver, *accounts: str) -> list[Things]:
    """Of each account a webhook with a contact, an event, and its delivery, which the receiver refused."""
    webhooks = {
        account: make_webhook(
            database,
            settings,
            account=account,
            name=f"of-{account}",
            url=receiver.url("/status/401"),
            contact_email=f"ops@{account}.test" if account.isalnum() else None,
        )
        for account in accounts
    }
    for account in accounts:
        enqueue("message.sent", {"body": f"for {account}"}, account=account, subject=f"subject-{account}")
    deliver_all(settings)
    # Where an engine runs, its loops have taken some of them, and record the answers when they come.
    until(lambda: len(rows(database, "SELECT id FROM dispatcher.notices")) >= len(accounts))
    return [_things(database, account, webhook.id) for account, webhook in webhooks.items()]


def _things(database: Engine, account: str, webhook: UUID) -> Things:
    """With a key of the account, and a session of somebody in the portal."""
    (delivery,) = rows(database, "SELECT * FROM dispatcher.deliveries WHERE webhook_id = :id", id=webhook)
    (notice,) = rows(database, "SELECT id FROM dispatcher.notices WHERE webhook_id = :id", id=webhook)
    (owner,) = rows(database, "SELECT * FROM dispatcher.accounts WHERE name = :name", name=account)
    now = datetime.now(UTC)
    with Session(database) as session, session.begin():
        key = create_key(session, by=TESTER, account=account, scopes=[Scope.READ]).id
        row = BrowserSession(
            kind="portal",
            account_id=owner.id,
            scopes=["read"],
            user_label="user-8",
            expires_at=now + timedelta(hours=1),
        )
        signed_in, _ = begin(session, row, account, now, call=Call(new_id(), "127.0.0.1"))
    ids = {
        "account_id": owner.id,
        "key_id": key,
        "session_id": signed_in.id,
        "webhook_id": webhook,
        "event_id": delivery.event_id,
        "delivery_id": delivery.id,
        "notice_id": notice.id,
        "name": "console.css",
        "redelivery_id": redelivery_of(database, account),
    }
    return Things(account, ids)


def redelivery_of(database: Engine, account: str) -> UUID:
    """A bulk redelivery of the account's discarded deliveries, under way."""
    with Session(database) as session, session.begin():
        return order(session, find_account(session, account), Selection(), by=TESTER).id


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that this process sends meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


class Pseudo(NullTranslations):
    """A language in which each text can be told from one that was never translated."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


def faces_with(running: Running, pages: APIRouter, templates: dict[str, str]) -> dict[Kind, FastAPI]:
    """Both faces, with a module of pages more."""
    own = NullTranslations()  # of which there are templates apart
    environment = rendering._environment(own)
    environment.loader = ChoiceLoader([DictLoader(templates), environment.loader])  # type: ignore[list-item]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console_app, "_BOTH", (*console_app._BOTH, SimpleNamespace(pages=pages)))
        return {kind: face(kind, running.serving, own) for kind in Kind}
