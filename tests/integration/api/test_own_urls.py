"""URLs of our own in answers lead to what they name, whichever proxy is in front."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
import requests
from fastapi import FastAPI
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.asgi import DIALECTS, create_app
from dispatcher.settings import Settings
from tests.installations import installation_for
from tests.integration.api.conftest import MakeKey, running_app

PUBLIC = "https://hooks.example.com:8443/api"
Serve: TypeAlias = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """One for all servers: its first requests, and its description, take longer than all else here."""
    return create_app()


@pytest.fixture
def serve(database: Engine, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Runs the API, perhaps with a root path or a public URL; gives its origin."""

    @contextmanager
    def served(root_path: str = "", public_url: str = "") -> Iterator[str]:
        monkeypatch.setenv("DISPATCHER_PUBLIC_URL", public_url)
        with running_app(app, root_path) as origin:
            yield origin

    return served


@contextmanager
def proxy(origin: str, prefix: str, *, strips: bool = True, **headers: str) -> Iterator[str]:
    """A reverse proxy for what is below the prefix, which it takes away or not; gives its address with the prefix."""
    target = urlsplit(origin).netloc

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            path = self.path.removeprefix(prefix) if strips else self.path
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = HTTPConnection(target, timeout=30)
            connection.request(self.command, path, body, {**dict(self.headers.items()), **headers})
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name in ("Content-Type", "Location"):
                if answer.headers[name] is not None:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_POST = forward  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}{prefix}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def key(make_key: MakeKey) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_key('acme', Scope.READ, Scope.MANAGE, Scope.SEND)}"}


def made(address: str, key: dict[str, str]) -> dict[str, str]:
    """The path of each call that makes something, and the Location that it is answered with."""
    native = {"url": "https://hooks.example.com/in", "event_types": ["message"], "enabled": False}
    calls = {
        "/v1/webhooks": native,
        "/v1/redeliveries": {"filter": {}},
        "/flexengage/v1/acme/webhooks": {"endpoint": "https://hooks.example.com/in", "events": ["message"]},
    }
    found = {}
    for path, body in calls.items():
        answer = requests.post(address + path, json=body, headers=key, timeout=30)
        assert answer.status_code in {201, 202}, answer.text
        found[path] = answer.headers["Location"]
    return found


def check(address: str, key: dict[str, str], base: str | None = None, *, follow: bool = True) -> None:
    """All that is made behind the address is where its Location says, and OpenAPI's servers are the address."""
    base = base or address
    for path, location in made(address, key).items():
        begin, _, identifier = location.rpartition("/")
        assert (begin, len(identifier)) == (base + path, 36)
        if follow:
            assert requests.get(location, headers=key, timeout=30).json()["id"] == identifier
    for prefix in ("", *DIALECTS):
        document = requests.get(f"{address}{prefix}/openapi.json", timeout=30).json()
        assert document["servers"] == [{"url": base + prefix}]


def test_without_a_proxy_they_begin_with_what_was_called(serve: Serve, key: dict[str, str]) -> None:
    with serve() as origin:
        check(origin, key)


def test_behind_a_proxy_that_takes_its_prefix_away_they_have_the_root_path_once(
    serve: Serve, key: dict[str, str]
) -> None:
    with serve("/api") as origin, proxy(origin, "/api") as address:
        check(address, key)


def test_behind_a_proxy_that_ends_tls_they_say_https(serve: Serve, key: dict[str, str]) -> None:
    with serve("/api") as origin, proxy(origin, "/api", **{"X-Forwarded-Proto": "https"}) as address:
        check(address, key, address.replace("http:", "https:"), follow=False)


def test_the_description_that_anybody_may_ask_for_is_written_once_for_all_addresses(
    database: Engine, settings: Settings
) -> None:
    app, written = create_app(installation_for(settings)), 0
    describe = app.openapi

    def counted() -> dict[str, Any]:
        nonlocal written
        written += 1
        return describe()

    app.openapi = counted  # type: ignore[method-assign]
    with running_app(app) as origin:
        for address in (origin, origin.replace("127.0.0.1", "localhost"), origin):
            document = requests.get(f"{address}/openapi.json", timeout=30).json()
            assert document["servers"] == [{"url": address}]
            assert document == {**describe(), "servers": document["servers"]}
    assert written == 1


@pytest.mark.parametrize("root_path", ["", "/api", "/other"])
def test_with_the_setting_they_begin_with_it_whatever_the_request_says(
    serve: Serve, key: dict[str, str], root_path: str
) -> None:
    with serve(root_path, public_url=PUBLIC) as origin, proxy(origin, "/prefix", Host="inside") as address:
        check(address, key, PUBLIC, follow=False)


def test_a_proxy_that_keeps_its_prefix_reaches_nothing(serve: Serve, key: dict[str, str]) -> None:
    for root_path in ("", "/api"):
        with serve(root_path) as origin, proxy(origin, "/api", strips=False) as address:
            answer = requests.get(f"{address}/v1/webhooks", headers=key, timeout=30)
            assert answer.status_code == 404


def test_a_brand_is_quoted_once(serve: Serve, make_key: MakeKey) -> None:
    key = {"Authorization": f"Bearer {make_key('Ä & b', Scope.READ, Scope.MANAGE)}"}
    body = {"endpoint": "https://hooks.example.com/in", "events": ["message"]}
    with serve("/api") as origin, proxy(origin, "/api") as address:
        url = f"{address}/flexengage/v1/%C3%84%20%26%20b/webhooks"
        answer = requests.post(url, json=body, headers=key, timeout=30)
        assert answer.headers["Location"] == f"{url}/{answer.json()['id']}"
