"""Servers that are too old are refused at start, in a line that says which and what is needed."""

import asyncio
from collections.abc import Iterator

import pytest
import redis
from pydantic import SecretStr
from sqlalchemy import make_url

from dispatcher.api import health
from dispatcher.broker.address import read_broker_url
from dispatcher.db.migrate import upgrade
from dispatcher.embedded.given_servers import ask_broker, ask_database
from dispatcher.errors import ConfigurationError
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.installations import installation_for
from tests.older_servers import POSTGRES_13, REDIS_6_0, VALKEY, answering
from workers.starting import wait_until_fit

OLD_DATABASE = r"^DATABASE_URL leads to PostgreSQL 13\.\d+: 15 or newer is needed$"
OLD_BROKER = r"^BROKER_URL leads to Redis 6\.0: 6\.2 or newer is needed, or Valkey$"


@pytest.fixture
def old_database(settings: Settings) -> Iterator[Settings]:
    url = make_url(settings.database_url.get_secret_value())
    assert url.port
    with answering(url.port, POSTGRES_13) as port:
        yield with_urls(settings, database_url=url.set(port=port).render_as_string(hide_password=False))


def with_broker(settings: Settings, port: int) -> Settings:
    url = settings.broker_url.get_secret_value()
    return with_urls(settings, broker_url=url.replace(f":{broker_port(settings)}/", f":{port}/"))


def broker_port(settings: Settings) -> int:
    return read_broker_url(settings.broker_url.get_secret_value()).servers[0][1]


def with_urls(settings: Settings, **urls: str) -> Settings:
    return settings.model_copy(update={name: SecretStr(url) for name, url in urls.items()})


def readiness(settings: Settings) -> dict[str, health.Part]:
    installation = Installation(settings)
    try:
        return asyncio.run(health._check(installation))
    finally:
        installation.close()


def test_a_postgres_that_is_too_old_is_refused_by_each_that_starts(old_database: Settings) -> None:
    url = old_database.database_url.get_secret_value()
    for begin in (
        lambda: wait_until_fit(installation_for(old_database)),
        lambda: upgrade(url),
        lambda: ask_database(url),
    ):
        with pytest.raises(ConfigurationError, match=OLD_DATABASE):
            begin()
    part = readiness(old_database)["database"]
    assert part.status == "failed"
    assert "13." in str(part.detail)


def test_a_redis_that_is_too_old_is_refused_by_each_that_starts(settings: Settings) -> None:
    with answering(broker_port(settings), REDIS_6_0) as port:
        old = with_broker(settings, port)
        with pytest.raises(ConfigurationError, match=OLD_BROKER):
            wait_until_fit(installation_for(old))
        with pytest.raises(ConfigurationError, match=OLD_BROKER):
            ask_broker(old.broker_url.get_secret_value())
        part = readiness(old)["broker"]
    assert part.status == "failed"
    assert "Redis 6.0" in str(part.detail)


def test_a_valkey_is_taken_whatever_version_of_redis_it_says_it_is_like(settings: Settings) -> None:
    with answering(broker_port(settings), VALKEY) as port:
        like_old = with_broker(settings, port)
        wait_until_fit(installation_for(like_old))
        ask_broker(like_old.broker_url.get_secret_value())
        assert readiness(like_old)["broker"].status == "ok"


def test_a_broker_whose_user_may_not_ask_for_its_version_is_taken(settings: Settings) -> None:
    url = settings.broker_url.get_secret_value()
    with redis.Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "narrow", "on", ">word", "~*", "&*", "+@all", "-info")
        try:
            ask_broker(f"redis://narrow:word@127.0.0.1:{broker_port(settings)}/0")
        finally:
            client.execute_command("ACL", "DELUSER", "narrow")
