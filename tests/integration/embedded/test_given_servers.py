"""Servers that the environment names: those that answer, and those that do not."""

import time
from collections.abc import Callable

import pytest

from dispatcher.embedded.errors import ServerAway
from dispatcher.embedded.given_servers import ask_broker, ask_database
from tests.conftest import Servers
from tests.dead_ports import UnansweringPort, refusing_port

DATABASE, BROKER = "postgresql+psycopg2://user:planted@{}/name", "redis://:planted@{}/0"


def test_servers_that_answer_are_fit(servers: Servers) -> None:
    ask_database(servers.database_url)
    ask_broker(servers.broker_url)


@pytest.mark.parametrize(("ask", "url"), [(ask_database, DATABASE), (ask_broker, BROKER)])
def test_one_that_is_dead_or_does_not_answer_is_named_soon_by_its_place_without_its_password(
    ask: Callable[[str], None], url: str
) -> None:
    with UnansweringPort() as silent:
        for port in (refusing_port(), silent.port):
            began = time.monotonic()
            with pytest.raises(ServerAway) as away:
                ask(url.format(f"127.0.0.1:{port}"))
            assert time.monotonic() - began < 4
            assert f"The address is 127.0.0.1:{port}: start it there" in str(away.value)
            assert "planted" not in str(away.value)


def test_a_wrong_password_is_reported_as_one(servers: Servers) -> None:
    for ask, url, variable in (
        (ask_database, servers.database_url, "DATABASE_URL"),
        (ask_broker, servers.broker_url, "BROKER_URL"),
    ):
        with pytest.raises(ServerAway, match=f"refuses the user or password in {variable}") as away:
            ask(url.replace("test-password", "planted"))
        assert "planted" not in str(away.value)
