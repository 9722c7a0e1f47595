"""docs/console.md: the page of one's own that it shows."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.console.mount import Face
from dispatcher.settings import Settings
from tests.factories import make_account, make_webhook
from tests.integration.api.conftest import Running
from tests.integration.console.conftest import (
    People,
    environment,
    faces_with,
    make_key,
    operator,
    people,
    restarted,
    running,
    server,
)
from tests.integration.docs.blocks import example
from tests.integration.docs.reader import Reader

__all__ = ["environment", "make_key", "operator", "people", "restarted", "running", "server"]

PAGE = "docs/console.md"


def test_the_page_that_is_shown_lists_names_and_changes_one(
    people: People,
    running: Running,
    database: Engine,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_account(database, "globex")
    url = "https://example.com/hook"
    webhook, _ = (
        make_webhook(database, settings, account=name, name=f"of-{name}", url=url) for name in ("acme", "globex")
    )
    with Reader(PAGE, database, settings, tmp_path) as reader:
        reader.read_to("page")
        templates = {name: example(PAGE, name) for name in ("names.html", "rename.html")}
        apps = faces_with(running, reader.names["pages"], templates)
        monkeypatch.setattr(Face, "app", property(lambda self: apps[self._kind]))
        customer, at = people.customer(), f"/names/{webhook.id}"

        assert ("of-acme" in customer.get("/names").text, "of-globex" in customer.get("/names").text) == (True, False)
        assert all(name in people.operator().get("/names").text for name in ("of-acme", "of-globex"))
        assert people.customer("globex").get(at).status_code == 404
        assert people.operator(Scope.OBSERVE).post(at, {"name": "x"}).status_code == 403
        refused = customer.post(at, {"name": "n" * 256})
        assert (refused.status_code, f'value="{"n" * 256}"' in refused.text) == (422, True)
        assert 'value="of-acme"' in customer.get(at).text
        changed = customer.post(at, {"name": "<orders>"})
        assert (changed.status_code, changed.headers["Location"]) == (303, "/portal/names?done=saved")
        assert "&lt;orders&gt;" in customer.get("/names").text
        reader.read_to_the_end()
