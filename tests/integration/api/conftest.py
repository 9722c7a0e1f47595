"""A real API server in a thread, and keys to call it with."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from unittest.mock import patch

import pytest
import requests
import uvicorn
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.types import ASGIApp

from dispatcher.accounts.api_keys import Scope, create_key
from dispatcher.asgi import create_app
from dispatcher.console.looks import Looks
from dispatcher.installation import Installation
from dispatcher.web.http_protocol import DispatcherHttpProtocol
from dispatcher.web.serving import Serving
from dispatcher.webhooks.pulses.recent import Recent
from tests.conftest import Servers
from tests.factories import TESTER, make_account

MakeKey: TypeAlias = Callable[..., str]
Restarted: TypeAlias = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Api:
    """Calls the server; each call is a connection of its own."""

    origin: str

    def get(self, path: str, **arguments: Any) -> requests.Response:
        return requests.get(self.origin + path, timeout=30, **arguments)

    def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **arguments: Any
    ) -> requests.Response:
        """Calls with a key; the body is bytes as they are, or anything else as JSON."""
        headers = {"Connection": "close", **arguments.pop("headers", {})}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            arguments |= {"data": body} if isinstance(body, bytes) else {"json": body}
        url = self.origin + path.removeprefix(self.origin)  # a Location has both
        return requests.request(method, url, headers=headers, timeout=60, **arguments)

    def post_event(
        self, body: Any, *, token: str | None = None, headers: dict[str, str] | None = None, **arguments: Any
    ) -> requests.Response:
        """Posts to /v1/events: bytes as they are, all else as JSON."""
        sent = {"Content-Type": "application/json", "Connection": "close", **(headers or {})}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        content = {"data": body} if not isinstance(body, dict) else {"json": body}
        return requests.post(f"{self.origin}/v1/events", headers=sent, timeout=30, **content, **arguments)


@contextmanager
def running_app(app: ASGIApp, root_path: str = "", port: int = 0) -> Iterator[str]:
    """The origin of a real server with this app. It leaves this process's logs alone: other tests look at them as
    nobody has configured them."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=port,
            log_level="warning",
            root_path=root_path,
            loop="uvloop",
            http=DispatcherHttpProtocol,
            ws="none",
        )
    )
    thread = threading.Thread(target=server.run)
    with patch("dispatcher.asgi.configure_logs"):
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass(slots=True)
class Running:
    """A running server: its origin, what makes it read the settings anew with the next request, and the installation
    whose settings and keys it has (None: a test changed them)."""

    origin: str
    restart: Callable[[], None]
    forget_failures: Callable[[], None]
    serving: Serving
    like: Installation | None = None


@contextmanager
def lasting_app(app: ASGIApp) -> Iterator[str]:
    """The same for many tests. It makes no heartbeats: they would come into the tables of tests that do not use it."""
    with ExitStack() as stack:
        with patch("dispatcher.asgi.Heartbeats"):
            origin = stack.enter_context(running_app(app))
        yield origin


@pytest.fixture(scope="session")
def running(servers: Servers) -> Iterator[Running]:
    """One for the whole run: the first request to each app builds its routes, which takes as long as many a test."""
    app = create_app()
    with lasting_app(app) as origin:
        yield Running(origin, app.state.serving.close, app.state.serving.failures.forget, app.state.serving)


@pytest.fixture
def restarted(running: Running, installation: Installation) -> Restarted:
    """Has the server read the settings anew, as after a restart."""
    running.forget_failures()  # all tests come from one address
    if running.like is not installation:
        running.restart()
    running.like = installation
    if (served := running.serving.served) is not None:  # what holds for some seconds
        served.kept.pop(Recent, None)
        served.kept.pop(Looks, None)

    def restart() -> None:
        running.restart()
        running.like = None

    return restart


@pytest.fixture
def server(running: Running, restarted: Restarted) -> str:
    """The origin of a server that has this test's settings."""
    return running.origin


@pytest.fixture
def api(server: str, database: Engine) -> Api:
    return Api(server)


@pytest.fixture
def make_key(database: Engine) -> MakeKey:
    """Makes a key for an account (made if need be) and returns its token."""

    def make(account: str | None = "acme", *scopes: Scope, **options: Any) -> str:
        if account is not None:
            make_account(database, account)
        with Session(database) as session, session.begin():
            return create_key(session, by=TESTER, account=account, scopes=scopes or [Scope.SEND], **options).token

    return make


@pytest.fixture
def token(make_key: MakeKey) -> str:
    """A key of the account acme that may send."""
    return make_key()


@pytest.fixture
def manager(make_key: MakeKey) -> str:
    """A key of the account acme that may read and manage."""
    return make_key("acme", Scope.READ, Scope.MANAGE)


@pytest.fixture
def operator(make_key: MakeKey) -> str:
    return make_key(None, Scope.OPERATOR)


def errors(answer: requests.Response) -> dict[str, str]:
    """The fields that a problem names, each with the reason."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    return {error["field"]: error["reason"] for error in answer.json()["errors"]}
