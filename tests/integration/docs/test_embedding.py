"""docs/embedding.md: each server of the page leads the customers who are signed in with it, and nobody else, into the
portal. In a browser the page is tried in tests/browser."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.console.kinds import Kind
from tests.dead_ports import refusing_port
from tests.factories import change, make_account, rows
from tests.integration.api.conftest import running_app
from tests.integration.console.conftest import Browser
from tests.integration.docs.blocks import ROOT, blocks_of, example
from tests.integration.docs.reader import Reader
from tests.process_table import eventually

PAGE = "docs/embedding.md"
SHOP = "http://localhost:8001"

# What a platform has besides the view of the page: its users, in its database, and how they sign in.
DJANGO = """
import sys
from wsgiref.simple_server import make_server

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    SECRET_KEY="the platform's own" * 3,
    ROOT_URLCONF="views",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}},
)
django.setup()

import views
from django.contrib.auth import login
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse
from django.urls import path

with connection.schema_editor() as editor:
    for model in (ContentType, Permission, Group, User):
        editor.create_model(model)
user = User.objects.create_user("user-17")


def sign_in(request):
    login(request, user)
    return HttpResponse()


views.urlpatterns.append(path("sign-in", sign_in))
make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application()).serve_forever()
"""
NODE = """
import { createServer } from "node:http";
import { openPortal } from "./portal.mjs";

const user = { id: "user-17", account: "acme" };
createServer((request, response) => {
  if (request.url === "/sign-in") response.writeHead(200, { "Set-Cookie": "signed=in" }).end();
  else openPortal(response, request.headers.cookie === "signed=in" ? user : null);
}).listen(Number(process.argv[2]), "127.0.0.1");
"""


@pytest.fixture
def environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """That of all tests, with the settings of the page."""
    added = {
        "DISPATCHER_CONSOLE": "on",
        "DISPATCHER_CONSOLE_URL": "http://127.0.0.1",
        "DISPATCHER_PORTAL_ANCESTORS": SHOP,
        "DISPATCHER_PORTAL_RETURN_ORIGINS": SHOP,
    }
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    return environment | added


@pytest.fixture
def reader(reader: Reader, database: Engine, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Has made account and key."""
    reader.read_to("key")
    for name in ("API", "TOKEN", "PORTAL", "SHOP_ORIGIN", "SHOP_SECRET"):
        monkeypatch.setenv(name, reader.value(name))
    make_account(database, "globex")
    return reader


@contextmanager
def running(*command: str) -> Iterator[str]:
    """The origin of a program that is started with a port, in this process's folder."""
    port = refusing_port()
    with subprocess.Popen([*command, str(port)], env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        try:
            assert eventually(partial(answers, f"http://127.0.0.1:{port}/")), process.poll()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        return bool(requests.get(url, timeout=5).status_code)
    except requests.ConnectionError:
        return False


def assert_it_lets_its_customers_in(origin: str, database: Engine) -> requests.Session:
    before = made(database)
    nobody = requests.get(f"{origin}/open-portal", timeout=20, allow_redirects=False)
    assert (nobody.status_code, nobody.text) == (401, "Please sign in again.")
    assert made(database) == before

    customer = requests.Session()
    customer.get(f"{origin}/sign-in", timeout=20, allow_redirects=False)
    opened = [
        customer.get(f"{origin}/open-portal?account=globex&user=user-1", timeout=20, allow_redirects=False)
        for _ in range(2)
    ]
    for answer in opened:
        assert answer.status_code in {302, 303}, answer.text
        assert "no-store" in answer.headers["Cache-Control"]
        assert answer.headers.get("X-Frame-Options", "SAMEORIGIN") == "SAMEORIGIN"
    first, second = (answer.headers["Location"] for answer in opened)
    assert first != second
    assert (
        made(database)[len(before) :]
        == [("acme", "user-17", SHOP, f"{SHOP}/webhooks", ["manage", "read"], 3600, 60, "light")] * 2
    )
    browser = Browser(os.environ["API"], Kind.PORTAL)
    entered = browser.post("/enter", {"link": first})
    assert (entered.status_code, entered.headers["Location"]) == (303, "/portal/webhooks")
    assert browser.post("/enter", {"link": first}).status_code == 410

    change(database, "UPDATE dispatcher.accounts SET suspended_at = now()")
    refused = customer.get(f"{origin}/open-portal", timeout=20, allow_redirects=False)
    assert refused.status_code == 503
    assert refused.text == "Your webhooks cannot be shown at the moment. Please try again soon."
    change(database, "UPDATE dispatcher.accounts SET suspended_at = NULL")
    return customer


def made(database: Engine) -> list[tuple[object, ...]]:
    """The links so far, oldest first."""
    found = rows(
        database,
        "SELECT a.name, user_label, embed_origin, return_url, scopes, session_seconds,"
        " extract(epoch FROM l.expires_at - l.created_at)::int, theme"
        " FROM dispatcher.portal_links l JOIN dispatcher.accounts a ON a.id = account_id ORDER BY l.id",
    )
    return [tuple(row) for row in found]


def test_each_block_of_the_page_is_tried_here_or_in_a_browser() -> None:
    shown = {block.name for block in blocks_of(PAGE) if block.mark != "not run" and block.language != "mermaid"}
    assert shown == {"key", "table", "fastapi", "trial", "django", "node", "page", "script"}


def test_the_page_runs_from_top_to_bottom(reader: Reader, database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, file in (("page", "webhooks.html"), ("script", "portal.js"), ("django", "views.py")):
        Path(file).write_text(example(PAGE, name))
    reader.read_to("fastapi")
    monkeypatch.setitem(sys.modules, "shop", SimpleNamespace(**reader.names))
    reader.read_to("trial")
    with running_app(reader.names["app"]) as origin:
        customer = assert_it_lets_its_customers_in(origin, database)
        page = customer.get(f"{origin}/webhooks", timeout=20)
        assert (page.text, customer.get(f"{origin}/portal.js", timeout=20).text) == tuple(
            example(PAGE, name) for name in ("page", "script")
        )
        assert page.headers["Content-Security-Policy"] == f"frame-src 'self' {os.environ['API']}"
    reader.names["engine"].close()

    reader.read_to("django")
    reader.names["engine"].close()
    with running(sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.')\n{DJANGO}") as origin:
        assert_it_lets_its_customers_in(origin, database)
    reader.read_to_the_end()


@pytest.mark.skipif(not shutil.which("node"), reason="no node here")
def test_so_does_a_server_without_the_client(reader: Reader, database: Engine) -> None:
    Path("portal.mjs").write_text(example(PAGE, "node"))
    Path("platform.mjs").write_text(NODE)
    with running("node", "platform.mjs") as origin:
        assert_it_lets_its_customers_in(origin, database)
