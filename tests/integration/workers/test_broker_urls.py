"""Wakes and the bell over the kinds of URL that lead to a broker, with real servers."""

import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest
import redis
from kombu import Connection

from dispatcher.broker.celery_settings import celery_settings
from dispatcher.embedded.errors import ServerAway
from dispatcher.embedded.given_servers import ask_broker
from dispatcher.embedded.servers.valkey import _find_program
from dispatcher.settings import Settings
from dispatcher.wake import BELL, NOTICES, PARKED, Waker
from dispatcher.web.rate_limits import RateLimits
from tests.certificates import Authority, new_authority
from tests.dead_ports import refusing_port
from tests.integration.workers.parked import until
from tests.sentinels import watched_servers
from workers.bell import Bell
from workers.broker_transport import SentinelTransport, Transport


def tell(url: str) -> bool:
    """Whether a bell hears what a producer rings. A bell that cannot connect has heard nothing."""
    bell, now = Bell(Waker(url)), 100.0
    bell.listen(now, now)
    if not bell.is_heard:
        return False
    try:
        assert not bell.rang()
        Waker(url).wake()
        until(bell.rang)
        return True
    finally:
        bell.close()


def all_others_reach(url: str) -> bool:
    """Whether what else uses the broker does: messages, the counts of requests, what asks whether it is there, and the
    workers' own connections. All of them, or none."""
    given = celery_settings(url)
    transport = SentinelTransport if url.startswith("sentinel") else Transport
    made = Connection(
        given["broker_url"], ssl=given["broker_use_ssl"], transport_options=given["broker_transport_options"]
    )
    made.transport_cls = transport
    limits, key = RateLimits(url, 1), uuid4().hex
    counted = [limits.seconds_to_wait(key) > 0 for _ in range(2)] == [False, True]
    reached = [Waker(url).wake_another(NOTICES), counted]
    for use in (lambda: ask_broker(url), made.transport.establish_connection):
        try:
            use()
            reached.append(True)
        except (ServerAway, redis.RedisError):
            reached.append(False)
    made.release()
    assert len(set(reached)) == 1, reached
    return reached[0]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system cannot limit it")
def test_a_worker_notices_a_broker_that_vanished_though_it_only_waits_for_it(settings: Settings) -> None:
    """Otherwise its queues would stand for 45 s after a fail-over, or for hours."""
    given = celery_settings(settings.broker_url.get_secret_value())
    with Connection(given["broker_url"], transport_options=given["broker_transport_options"]) as made:
        opened = made.default_channel.client.connection_pool.get_connection()._sock
        limits = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT]
        assert [opened.getsockopt(socket.IPPROTO_TCP, limit) for limit in limits] == [5, 2, 3, 8_000]
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return new_authority(tmp_path)


@contextmanager
def tls_before(port: int, context: ssl.SSLContext, swap: tuple[bytes, bytes] = (b"", b"")) -> Iterator[int]:
    """The port at which the server at `port` is behind TLS. In its answers, one text stands in place of another."""
    listening = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket, swap: tuple[bytes, bytes]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data.replace(*swap) if swap[0] else data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(plain: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(plain, server_side=True) as outer,
            socket.create_connection(("127.0.0.1", port)) as inner,
        ):
            threading.Thread(target=copy, args=(inner, outer, swap), daemon=True).start()
            copy(outer, inner, (b"", b""))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()[1]
    listening.close()


@pytest.fixture
def behind_tls(settings: Settings, broker: "redis.Redis", authority: Authority) -> Iterator[str]:
    """The address of the suite's broker behind TLS, without scheme and query."""
    url = urlsplit(settings.broker_url.get_secret_value())
    with tls_before(url.port or 0, authority.server("127.0.0.1")) as port:
        yield f"{url.netloc.rpartition('@')[0]}@127.0.0.1:{port}/0"


def test_a_plain_url(settings: Settings, broker: "redis.Redis") -> None:
    url = settings.broker_url.get_secret_value()
    assert tell(url)
    assert (broker.get(PARKED), broker.llen(BELL)) == (None, 1)
    assert all_others_reach(url)


def test_tls_with_the_authority_that_signed(behind_tls: str, authority: Authority) -> None:
    url = f"rediss://{behind_tls}?ssl_ca_certs={authority.bundle}"
    assert tell(url)
    assert all_others_reach(url)


@pytest.mark.parametrize("said", ["", "ssl_check_hostname=false"])
def test_tls_verifies_by_itself(behind_tls: str, broker: "redis.Redis", said: str) -> None:
    url = f"rediss://{behind_tls}?{said}"
    assert not tell(url)
    assert not all_others_reach(url)
    assert broker.keys() == []


def test_only_who_says_so_has_nothing_verified(behind_tls: str) -> None:
    url = f"rediss://{behind_tls}?ssl_cert_reqs=none"
    assert tell(url)
    assert all_others_reach(url)


@pytest.mark.parametrize("password", ["", "p/w@;?"])
def test_a_unix_socket(password: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "broker"
        words = [_find_program(), "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        if password:
            words += ["--requirepass", password]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            until(path.exists)
            login = f":{quote(password, safe='')}@" if password else ""
            url = f"redis+socket://{login}{path}?virtual_host=3"
            assert tell(url)
            assert all_others_reach(url)
            with redis.Redis(unix_socket_path=str(path), password=password or None, db=0) as client:
                assert set(client.info("keyspace")) == {"db3"}
        finally:
            server.kill()
            server.wait(20)


def test_sentinel_with_tls_to_sentinels_and_master(tmp_path: Path, authority: Authority) -> None:
    with ExitStack() as stack:
        watched = stack.enter_context(watched_servers(tmp_path))
        context = authority.server("127.0.0.1")
        port = stack.enter_context(tls_before(watched.master, context))
        swap = str(watched.master).encode(), str(port).encode()  # a sentinel with TLS names the master's port with TLS
        assert len(swap[0]) == len(swap[1])
        asked = [stack.enter_context(tls_before(sentinel, context, swap)) for sentinel in watched.sentinels]
        url = watched.url
        for plain, secured in zip(watched.sentinels, asked, strict=True):
            url = url.replace(str(plain), str(secured))
        assert not all_others_reach(f"{url}&ssl_check_hostname=true")
        assert all_others_reach(f"{url}&ssl_ca_certs={authority.bundle}")
        assert tell(f"{url}&ssl_ca_certs={authority.bundle}")


def test_one_of_two_sentinels_may_be_dead(tmp_path: Path) -> None:
    with watched_servers(tmp_path) as watched:
        for url in (watched.url.replace(str(watched.sentinels[n]), str(refusing_port())) for n in (0, 1)):
            assert all_others_reach(url)


def test_what_still_uses_a_closed_connection_finds_an_outage(settings: Settings, broker: "redis.Redis") -> None:
    made = Connection(settings.broker_url.get_secret_value())
    made.transport_cls = Transport
    channel = made.channel()
    made.release()
    with pytest.raises(Transport.connection_errors):
        channel.qos.restore_visible()
