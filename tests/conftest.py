"""Real servers for the whole suite: one PostgreSQL and one Valkey for each process that runs tests, started once,
emptied for each test."""

import gc
import os
import random
import resource
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import hypothesis
import pytest
import redis
from cryptography.fernet import Fernet
from sqlalchemy import Engine, create_engine, make_url, text

from dispatcher.db.engines import Limits, make_engine
from dispatcher.db.migrate import upgrade
from dispatcher.embedded.servers.postgres import EmbeddedPostgres
from dispatcher.embedded.servers.valkey import EmbeddedValkey
from dispatcher.installation import Installation
from dispatcher.settings import Settings
from tests.allowed import LOOPBACK_VARIABLES
from tests.certificates import new_authority
from tests.installations import close_installations, installation_for, keep_default_producer, settings_now
from tests.receiver import Receiver

# The same examples in each run; none fails because it is slow. The first forty find what a hundred do, as a rule.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, max_examples=40)
hypothesis.settings.load_profile("suite")

gc.set_threshold(200_000, 20, 50)  # next to nothing of what is made until all tests are collected is garbage

# Hundreds of connections with both ends in this process need more than the usual 1,024 files (macOS: 256).
_, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most_files, 8192), most_files))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: one more than there are cores, because the tests mostly wait."""
    return min((os.cpu_count() or 1) + 1, 8)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Whole engines run one at a time, and so do single nodes: each starts as many processes as the machine has cores,
    or more."""
    grouped = []
    for item in items:
        for started in ("engine", "node"):
            if item.get_closest_marker(started):
                item.add_marker(pytest.mark.xdist_group(started))
                grouped.append(item)
    yield
    # A group that is silently not formed (pytest-xdist 3.8 with pytest 9.2) starts everything once per process.
    if config.getoption("loadgroup", False) and not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError("pytest-xdist forms no groups with this pytest: whole engines would run at once")
    random.seed()  # the test order uses a seed that all processes share; random values in the tested code must not


def pytest_collection_finish() -> None:
    """Modules and tests stay: looking for garbage among them again and again would take a twentieth of the run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


ENCRYPTION_KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(2))

# Empties only the tables that were written to, of about ninety tables and partitions. TRUNCATE makes new files for a
# table and all that refer to it, which takes as long as many a test. So the rows of a table with a single page are
# deleted instead; new ones still follow them there.
_EMPTY = text("""
DO $$
DECLARE
  large text;
  small text;
BEGIN
  SELECT string_agg(name, ', ') FILTER (WHERE size > 8192),
    string_agg(format('d%s AS (DELETE FROM %s)', oid, name), ', ') FILTER (WHERE size <= 8192)
  INTO large, small FROM (
    SELECT oid, oid::regclass::text AS name, pg_relation_size(oid) AS size FROM pg_class
    WHERE relnamespace = 'dispatcher'::regnamespace AND relkind = 'r' AND relname NOT IN ('installation', 'migrations')
  ) tables WHERE size > 0;
  IF large IS NOT NULL THEN
    EXECUTE 'TRUNCATE ' || large || ' CASCADE';
  END IF;
  IF small IS NOT NULL THEN
    EXECUTE 'WITH ' || small || ' SELECT'; -- one statement, so that references between the tables do not matter
  END IF;
  PERFORM setval(format('dispatcher.%I', sequencename), 1, false) FROM pg_sequences
  WHERE schemaname = 'dispatcher' AND last_value IS NOT NULL;
END $$
""")


# Thousands of connections would each have their password hashed 4,096 times.
_CHEAP = {"scram_iterations": "1"}


@dataclass(frozen=True, slots=True)
class Servers:
    """The addresses of the suite's servers."""

    database_url: str
    broker_url: str


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A migrated PostgreSQL and an empty Valkey for the whole run."""
    directory: Path = tmp_path_factory.mktemp("servers")
    with (
        EmbeddedPostgres(directory / "postgres", password="test-password", durable=False, settings=_CHEAP) as postgres,
        EmbeddedValkey(directory / "valkey", password="test-password", persistent=False) as valkey,
    ):
        upgrade(postgres.url)
        yield Servers(postgres.url, valkey.url)
        close_installations()


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one authority that has signed no receiver's certificate. It replaces the system's authorities:
    reading those takes 20 ms, and most tests make a transport."""
    return new_authority(tmp_path_factory.mktemp("strangers")).bundle


@pytest.fixture(scope="session")
def eyes(servers: Servers) -> Iterator[Engine]:
    """The tests' own connections to the database, kept for the whole run."""
    settings = Settings(database_url=servers.database_url, broker_url=servers.broker_url)  # type: ignore[arg-type]
    engine = make_engine(settings.database_url.get_secret_value(), limits=Limits(60))  # they make many rows at once
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def empty(servers: Servers, eyes: Engine) -> Iterator[Callable[[], None]]:
    """A function that empties both servers. Its connections are made once, because it runs some thousand times."""
    with redis.Redis.from_url(servers.broker_url) as client:

        def do() -> None:
            with eyes.begin() as connection:
                connection.execute(_EMPTY)
            client.flushall()

        yield do


@pytest.fixture(scope="session", autouse=True)
def from_outside() -> Iterator[dict[str, str]]:
    """The variables of an engine that this process was started with. No test sees them, whatever somebody has set in
    his shell for an engine of his own."""
    found = {name: value for name, value in os.environ.items() if name.startswith("DISPATCHER_")}
    with pytest.MonkeyPatch.context() as patch:
        for name in found:
            patch.delenv(name)
        yield found


@pytest.fixture
def environment(
    servers: Servers, empty: Callable[[], None], strangers: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """The variables that make this process, and every process it starts, use the suite's servers; both are empty."""
    variables = {
        "DATABASE_URL": servers.database_url,
        "BROKER_URL": servers.broker_url,
        "DISPATCHER_ENCRYPTION_KEYS": ENCRYPTION_KEY,
        "DISPATCHER_DATA_DIR": str(strangers.with_name("no-engine-here")),
        "DISPATCHER_CA_BUNDLE": str(strangers),
        "DISPATCHER_CONTACT_DOMAINS": "test",
        **LOOPBACK_VARIABLES,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    empty()
    keep_default_producer(monkeypatch)
    usual = settings_now()
    yield variables
    close_installations(but=usual)


@pytest.fixture
def console_on(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of this test switch console and portal on."""
    monkeypatch.setenv("DISPATCHER_CONSOLE", "on")
    monkeypatch.setenv("DISPATCHER_CONSOLE_URL", "https://hooks.example")


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    """The settings of this test."""
    return settings_now()


@pytest.fixture
def installation(settings: Settings) -> Installation:
    """The installation of this test, closed at its end."""
    return installation_for(settings)


@pytest.fixture(scope="session")
def second_servers(servers: Servers) -> Servers:
    """Another migrated database and another broker on the same servers."""
    first = make_url(servers.database_url)
    engine = create_engine(first, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE second_installation"))
    engine.dispose()
    url = first.set(database="second_installation").render_as_string(hide_password=False)
    upgrade(url)
    return replace(servers, database_url=url, broker_url=servers.broker_url.removesuffix("/0") + "/1")


@pytest.fixture
def other(settings: Settings, second_servers: Servers) -> Installation:
    """Another installation in this process, with its own database and broker, both empty, and its own encryption
    key."""
    made = installation_for(
        Settings(
            database_url=second_servers.database_url,  # type: ignore[arg-type]
            broker_url=second_servers.broker_url,  # type: ignore[arg-type]
            encryption_keys=OTHER_KEY,  # type: ignore[arg-type]
        )
    )
    with made.engine.begin() as connection:
        connection.execute(_EMPTY)
    return made


@pytest.fixture
def database(eyes: Engine, settings: Settings) -> Engine:
    """The migrated, empty database."""
    return eyes


@pytest.fixture
def broker(settings: Settings) -> Iterator["redis.Redis"]:
    """The empty broker."""
    client = redis.Redis.from_url(settings.broker_url.get_secret_value(), decode_responses=True)
    yield client
    client.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A real HTTP server that answers as scripted, otherwise 200."""
    with Receiver() as running:
        yield running
