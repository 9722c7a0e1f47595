"""The relay before a server: what a client and the server see of each fault."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.relay import Relay

TCP_USER_TIMEOUT = 18
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs a socket filter of Linux")


class Echo:
    """A server that sends back what it gets, and counts what its connections came to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.got = b""
        self.ended: list[str] = []
        self.changed = threading.Condition()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        end = "closed"
        try:
            while data := connection.recv(65536):
                with self.changed:
                    self.got += data
                    self.changed.notify_all()
                connection.sendall(data)
        except OSError:
            end = "reset"
        connection.close()
        with self.changed:
            self.ended.append(end)
            self.changed.notify_all()

    def has_ended(self, how: str) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.ended == [how], 5)

    def has_got(self, data: bytes) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: data in self.got, 5)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def relay(server: Echo) -> Iterator[Relay]:
    with Relay(server.port) as relay:
        yield relay


@pytest.fixture
def client(relay: Relay) -> Iterator[socket.socket]:
    with connected(relay) as client:
        assert answer(client, b"first") == b"first"
        yield client


def connected(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=5)


def answer(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(65536)


def test_bytes_pass_in_order_with_and_without_a_delay(relay: Relay, client: socket.socket) -> None:
    for relay.delay_seconds in (0.0, 0.02, 0.0):
        sent = b"".join(b"%d," % number for number in range(5000))
        client.sendall(sent)
        came = b""
        while len(came) < len(sent):
            came += client.recv(65536)
        assert came == sent


def test_a_server_that_has_ended_closes_its_connections_and_refuses_new_ones(
    relay: Relay, server: Echo, client: socket.socket
) -> None:
    relay.cut()
    assert client.recv(1) == b""
    assert server.has_ended("closed")
    with pytest.raises(ConnectionRefusedError):
        connected(relay)
    relay.restore()
    with connected(relay) as again:
        assert answer(again, b"x") == b"x"


def test_a_reset_is_seen_by_both_ends_and_new_connections_pass(
    relay: Relay, server: Echo, client: socket.socket
) -> None:
    relay.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert server.has_ended("reset")
    with connected(relay) as again:
        assert answer(again, b"x") == b"x"


def test_a_silent_server_takes_everything_and_answers_when_it_goes_on(relay: Relay, client: socket.socket) -> None:
    relay.be_silent()
    with connected(relay) as new:
        for one in (client, new):
            one.settimeout(0.1)
            with pytest.raises(TimeoutError):
                answer(one, b"second")
        relay.restore()
        for one in (client, new):
            one.settimeout(5)
            assert one.recv(65536) == b"second"


@ON_LINUX
def test_what_vanished_answers_nothing_until_it_is_back(relay: Relay, server: Echo, client: socket.socket) -> None:
    relay.vanish(new=True)
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        answer(client, b"second")
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", relay.port), timeout=0.2)
    assert server.ended == []
    relay.restore()
    client.settimeout(5)
    assert client.recv(65536) == b"second"


@ON_LINUX
def test_after_a_fail_over_the_old_connection_ends_by_the_clients_own_time_limit_only(
    relay: Relay, server: Echo, client: socket.socket
) -> None:
    relay.vanish(new=False, server=False)
    assert server.has_ended("closed")
    with connected(relay) as new:
        assert answer(new, b"x") == b"x"
    client.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 300)
    with pytest.raises(TimeoutError) as caught:
        answer(client, b"second")
    assert caught.value.errno is not None  # the kernel's, not that of `settimeout`


def test_a_forgotten_connection_is_reset_when_its_client_next_sends_and_stays_open_at_the_server(
    relay: Relay, server: Echo, client: socket.socket
) -> None:
    relay.forget()
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(5)
    with pytest.raises(ConnectionResetError):
        answer(client, b"second")
    assert server.ended == []
    relay.restore()
    assert server.has_ended("reset")


def test_only_the_answer_that_was_asked_for_is_lost(relay: Relay, server: Echo, client: socket.socket) -> None:
    relay.lose_answer(after=b"INSERT", to=b"COMMIT")
    assert answer(client, b"COMMIT") == b"COMMIT"
    assert answer(client, b"INSERT") == b"INSERT"
    assert not relay.lost
    assert answer(client, b"COMMIT now") == b""
    assert relay.lost
    assert server.has_got(b"COMMIT now")
    with connected(relay) as again:
        assert answer(again, b"INSERT COMMIT") == b"INSERT COMMIT"
