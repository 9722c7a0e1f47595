"""Whose word counts about where a request came from, and by which scheme: asked of the API as it is run in earnest."""

import os
import re

import pytest
import requests
from sqlalchemy import Engine, text

from tests.forked import Forked

_FORWARDED = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}


@pytest.mark.parametrize(
    ("proxies", "counts"),
    [(None, True), ("127.0.0.0/8, ::1", True), ("10.0.0.0/8,192.0.2.0/24", False), ("", False)],
)
def test_what_a_proxy_says_counts_if_it_is_in_a_trusted_network(
    environment: dict[str, str], database: Engine, operator: str, proxies: str | None, counts: bool
) -> None:
    variables = {**os.environ, **environment, "FORWARDED_ALLOW_IPS": "*"}  # the server's own variable says nothing
    if proxies is not None:
        variables["DISPATCHER_TRUSTED_PROXIES"] = proxies
    said, its = os.pipe()
    running = Forked(("dispatcher.web", "--port", "0"), variables, stdout=its)
    os.close(its)
    with os.fdopen(said, encoding="utf-8") as lines:
        try:
            found = next(found for line in lines if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
            made = requests.post(
                f"{found[0]}/v1/accounts",
                json={"name": "globex"},
                headers={"Authorization": f"Bearer {operator}", **_FORWARDED},
                timeout=30,
            )
            described = requests.get(f"{found[0]}/openapi.json", headers=_FORWARDED, timeout=30)
        finally:
            running.kill()
            running.wait()
    assert made.status_code == 201
    assert described.json()["servers"][0]["url"].partition(":")[0] == ("https" if counts else "http")
    with database.connect() as connection:
        address = connection.scalar(text("SELECT address FROM dispatcher.audit ORDER BY id DESC LIMIT 1"))
    assert address == ("192.0.2.7" if counts else "127.0.0.1")
