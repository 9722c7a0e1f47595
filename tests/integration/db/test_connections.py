"""Connections while servers are away, silent, read-only, or one of several."""

import os
import socket
import traceback
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dispatcher.db import silence
from dispatcher.db.engines import Limits, make_engine
from dispatcher.db.outages import explain_outage, is_outage
from dispatcher.db.prepared import Prepared, from_pool
from dispatcher.embedded.servers.postgres import EmbeddedPostgres
from dispatcher.errors import ConfigurationError
from dispatcher.settings import Settings
from tests.dead_ports import refusing_port
from tests.process_table import eventually
from tests.relay import Relay


@pytest.fixture
def url(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


@pytest.fixture
def relay(url: str) -> Iterator[Relay]:
    with Relay(make_url(url).port or 5432) as relay:
        yield relay


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of another server, which takes no writes; else it is as the suite's."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("read-only"), password="test-password", durable=False) as server:
        engine = make_engine(server.url, autocommit=True)
        ask(engine, "ALTER ROLE dispatcher SET default_transaction_read_only TO on", returns=False)
        engine.dispose()
        yield server.port


@pytest.fixture
def made(database: Engine) -> Iterator[Callable[..., Engine]]:
    """Makes engines, which are closed at the end."""
    engines: list[Engine] = []

    def make(url: str, **named: object) -> Engine:
        engines.append(make_engine(url, **named))  # type: ignore[arg-type]
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def read_only_role(database: Engine) -> Iterator[Callable[[bool], None]]:
    """Says what new sessions may do."""

    def set_to(is_read_only: bool) -> None:
        with database.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("SET default_transaction_read_only TO off"))
            how = "SET default_transaction_read_only TO on" if is_read_only else "RESET default_transaction_read_only"
            connection.execute(text(f"ALTER ROLE dispatcher {how}"))

    yield set_to
    set_to(False)


def through(url: str, *ports: int, extra: str = "") -> str:
    """The same database through other ports."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    before, _, after = url.rpartition("@")
    return f"{before}@{hosts}/{after.partition('/')[2]}{extra}"


def ask(engine: Engine, statement: str = "SELECT pg_backend_pid()", *, returns: bool = True) -> object:
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if returns else None


def write(engine: Engine) -> None:
    ask(engine, "DELETE FROM dispatcher.leases WHERE name = 'none'", returns=False)


def write_by_fetch(engine: Engine) -> None:
    with from_pool(engine) as connection:
        statement = "WITH gone AS (DELETE FROM dispatcher.leases WHERE name = :name RETURNING 1) SELECT 1 FROM gone"
        Prepared("writes", statement, {"name": "text"}).fetch(connection, {"name": "none"})


def wait_for_silence(engine: Engine, relay: Relay, step: str) -> None:
    if step == "fetch":
        with from_pool(engine) as fairy:
            relay.be_silent()
            Prepared("silent", "SELECT :n", {"n": "integer"}).fetch(fairy, {"n": 1})
        return
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_current_xact_id()"))
        relay.be_silent()
        connection.commit() if step == "commit" else connection.execute(text("SELECT 1"))


# ---- several hosts


@pytest.mark.parametrize(
    "form",
    [
        "{login}@127.0.0.1:{dead},127.0.0.1:{read_only},127.0.0.1:{port}/{name}",
        "{login}@/{name}?host=127.0.0.1:{dead}&host=127.0.0.1:{read_only}&host=127.0.0.1:{port}",
        "{login}@/{name}?host=127.0.0.1,127.0.0.1,127.0.0.1&port={dead},{read_only},{port}",
    ],
)
def test_of_several_hosts_the_one_that_takes_writes_is_used(
    url: str, read_only: int, made: Callable[..., Engine], form: str
) -> None:
    login, _, place = url.partition("://")[2].rpartition("@")
    port, name = place.split(":")[1].split("/")
    given = form.format(login=login, dead=refusing_port(), read_only=read_only, port=port, name=name)
    settings = Settings(database_url=f"postgresql://{given}", broker_url="redis://127.0.0.1/0")  # type: ignore[arg-type]
    assert ask(made(settings.database_url.get_secret_value()), "SELECT inet_server_port()") == int(port)


def test_a_server_that_takes_no_writes_is_refused_and_said_so(
    url: str, read_only: int, made: Callable[..., Engine]
) -> None:
    with pytest.raises(OperationalError) as raised:
        ask(made(through(url, refusing_port(), read_only)))
    assert "read-only" in (explain_outage(raised.value) or "")
    assert ask(made(through(url, read_only, extra="?target_session_attrs=any")), "SELECT 1") == 1


@pytest.mark.parametrize(
    "place",
    ["one:5432,two:word/name", "one:word/name", "[::1]:word,two/name", "one:1:2,two/name", "/a?host=a:1&port=word"],
)
def test_a_port_that_is_no_number_is_refused_without_a_part_of_the_url(place: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL cannot be read") as raised:
        make_engine(f"postgresql+psycopg2://user:planted@{place}")
    shown = "".join(traceback.format_exception(raised.value))
    assert "planted" not in shown.replace("user:planted@{place}", "")
    assert "invalid literal" not in shown


def test_what_the_url_says_of_connections_holds_and_what_a_purpose_needs_holds_all_the_same(
    url: str, made: Callable[..., Engine]
) -> None:
    options = "-csearch_path%3Delsewhere%20-cstatement_timeout%3D1h"
    engine = made(f"{url}?tcp_user_timeout=4000&options={options}", limits=Limits(7))
    assert ask(engine, "SHOW search_path") == "elsewhere"
    assert ask(engine, "SHOW statement_timeout") == "7s"
    with from_pool(engine) as connection, socket.socket(fileno=os.dup(connection.fileno())) as its_socket:
        assert its_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4000


# ---- a server that is gone


def test_both_ends_notice_soon_that_the_other_is_gone(url: str, made: Callable[..., Engine]) -> None:
    engine = made(url)
    with from_pool(engine) as connection, socket.socket(fileno=os.dup(connection.fileno())) as ours:
        tcp = [
            ours.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        ]
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert 0 < tcp[0] + tcp[1] * tcp[2] < 30
    assert 0 < tcp[3] <= 10_000
    its = [ask(engine, f"SELECT current_setting('tcp_keepalives_{name}')") for name in ("idle", "interval", "count")]
    idle, interval, count = (int(str(value)) for value in its)
    assert 0 < idle + interval * count < 60


@pytest.mark.parametrize("step", ["statement", "fetch", "commit", "idle"])
def test_a_server_that_is_silent_is_waited_for_a_bounded_time_and_used_again_when_it_speaks(
    url: str, relay: Relay, made: Callable[..., Engine], caplog: pytest.LogCaptureFixture, step: str
) -> None:
    engine = made(through(url, relay.port), limits=Limits(0.4), connect_seconds=2)
    before = ask(engine)
    if step == "idle":  # nobody waits, so nothing happens to it
        relay.be_silent()
        silence.sleep(1.5)
        relay.restore()
        assert ask(engine) == before
        assert caplog.messages == []
        return
    with pytest.raises(DBAPIError) as raised:
        wait_for_silence(engine, relay, step)
    assert is_outage(raised.value)
    assert raised.value.connection_invalidated
    assert explain_outage(raised.value) == "the database (DATABASE_URL) does not answer"
    assert eventually(lambda: caplog.messages)  # a moment after the socket is closed
    assert caplog.messages == ["the database was silent for too long: connections closed: 1"]
    if step == "statement":  # new connections are not waited for either
        with pytest.raises(OperationalError, match="timeout expired"):
            ask(engine)
    relay.restore()
    assert ask(engine) != before


def test_a_statement_that_its_server_cancels_costs_no_connection(url: str, made: Callable[..., Engine]) -> None:
    engine = made(url, limits=Limits(0.3))
    before = ask(engine)
    with pytest.raises(OperationalError, match="statement timeout"):
        ask(engine, "SELECT pg_sleep(10)")
    assert ask(engine) == before


def test_a_forked_child_does_not_wait_for_ever_either(url: str, relay: Relay, made: Callable[..., Engine]) -> None:
    engine = made(through(url, relay.port), limits=Limits(0.3))
    before = ask(engine)
    (told_by_child, tells_parent), (told_by_parent, tells_child) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            with engine.connect() as connection:
                os.write(tells_parent, b"connected")
                os.read(told_by_parent, 1)
                try:
                    connection.execute(text("SELECT 1"))
                except OperationalError:
                    status = 0
        finally:
            os._exit(status)
    assert os.read(told_by_child, 100) == b"connected"
    relay.be_silent()
    os.write(tells_child, b"!")
    assert os.waitpid(child, 0)[1] == 0
    relay.restore()
    assert ask(engine) == before


def test_who_waits_for_a_connection_that_others_have_waits_a_bounded_time(
    url: str, made: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.db.engines._FREE_SECONDS", 0.2)
    engine = made(url, most_connections=5)
    taken = [engine.connect() for _ in range(5)]
    with pytest.raises(PoolTimeout, match=r"timeout 0\.20") as raised:
        engine.connect()
    assert explain_outage(raised.value) == "the database has no free connection"
    for connection in taken:
        connection.close()


# ---- sessions of no use


@pytest.mark.parametrize("first", [write, write_by_fetch])
def test_sessions_that_take_no_writes_leave_their_pool_with_the_first_error(
    url: str, made: Callable[..., Engine], read_only_role: Callable[[bool], None], first: Callable[[Engine], None]
) -> None:
    read_only_role(True)
    engine = made(f"{url}?target_session_attrs=any", autocommit=True)
    kept = [engine.connect() for _ in range(3)]
    for connection in kept:
        connection.close()
    read_only_role(False)
    with pytest.raises(DBAPIError) as raised:
        first(engine)
    assert is_outage(raised.value)
    assert "read-only" in (explain_outage(raised.value) or "")
    for _ in range(3):
        write(engine)


def test_new_sessions_are_not_opened_while_the_server_takes_no_writes(
    url: str, made: Callable[..., Engine], read_only_role: Callable[[bool], None]
) -> None:
    engine = made(url)
    read_only_role(True)
    with pytest.raises(OperationalError) as raised:
        write(engine)
    assert "read-only" in (explain_outage(raised.value) or "")
    read_only_role(False)
    write(engine)
