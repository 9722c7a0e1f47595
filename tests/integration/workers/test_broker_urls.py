"""Wakes and the bell over the kinds of URL that lead to a broker, with real servers."""

import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from dispatcher.embedded.servers.valkey import _find_program
from dispatcher.settings import Settings
from dispatcher.wake import BELL, PARKED, Waker
from tests.certificates import Authority, new_authority
from tests.integration.workers.parked import until
from workers.bell import Bell


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


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return new_authority(tmp_path)


@pytest.fixture
def behind_tls(settings: Settings, broker: "redis.Redis", authority: Authority) -> Iterator[str]:
    """The address of the suite's broker behind TLS, without scheme and query."""
    url = urlsplit(settings.broker_url.get_secret_value())
    context = authority.server("127.0.0.1")
    listening = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(plain: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(plain, server_side=True) as outer,
            socket.create_connection(("127.0.0.1", url.port or 0)) as inner,
        ):
            threading.Thread(target=copy, args=(inner, outer), daemon=True).start()
            copy(outer, inner)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"{url.netloc.rpartition('@')[0]}@127.0.0.1:{listening.getsockname()[1]}/0"
    listening.close()


def test_a_plain_url(settings: Settings, broker: "redis.Redis") -> None:
    assert tell(settings.broker_url.get_secret_value())
    assert (broker.get(PARKED), broker.llen(BELL)) == (None, 1)


def test_tls_with_the_authority_that_signed(behind_tls: str, authority: Authority) -> None:
    assert tell(f"rediss://{behind_tls}?ssl_ca_certs={authority.bundle}")


def test_tls_verifies_by_itself(behind_tls: str, broker: "redis.Redis") -> None:
    assert not tell(f"rediss://{behind_tls}")
    assert not Waker(f"rediss://{behind_tls}").wake()
    assert broker.keys() == []


def test_a_unix_socket(broker: "redis.Redis") -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "broker"
        words = [_find_program(), "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            until(path.exists)
            assert tell(f"redis+socket://{path}")
        finally:
            server.kill()
            server.wait(20)
