from typing import Any

import pytest
from sqlalchemy import Engine, text

from dispatcher.db.engines import make_engine
from dispatcher.settings import Settings
from tests.factories import change


def url(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


def ask(engine: Engine, statement: str) -> Any:
    with engine.connect() as connection:
        return connection.scalar(text(statement))


def test_a_connection_that_the_server_closed_while_idle_is_replaced_unnoticed(
    database: Engine, settings: Settings
) -> None:
    ours = make_engine(url(settings), application_name="test of closing")
    before = ask(ours, "SELECT pg_backend_pid()")
    assert ask(ours, "SELECT pg_backend_pid()") == before
    change(database, f"SELECT pg_terminate_backend({before}, 5000)")
    assert ask(ours, "SELECT pg_backend_pid()") != before


def test_only_who_asks_for_it_does_not_wait_for_the_disk(database: Engine, settings: Settings) -> None:
    show = "SHOW synchronous_commit"
    assert ask(make_engine(url(settings)), show) == ask(database, show)
    assert ask(make_engine(url(settings), wait_for_disk=False), show) == "off"


def test_with_autocommit_each_statement_is_a_transaction(database: Engine, settings: Settings) -> None:
    with make_engine(url(settings), autocommit=True).connect() as connection:
        first, second = (connection.scalar(text("SELECT pg_current_xact_id()::text::bigint")) for _ in range(2))
    assert first != second


def test_texts_are_utf8_whatever_the_environment_says(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    assert ask(make_engine(url(settings)), "SHOW client_encoding") == "UTF8"
