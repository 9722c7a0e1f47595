"""What a mail server answers has an end, and is told without harm."""

import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

import pytest

from dispatcher.settings import Settings
from tests import hostile_values
from tests.integration.workers.notices.conftest import mailer_for
from workers.notices.mailer import CleanFailure, MailResult, MaybeSent, PermanentFailure


@pytest.fixture
def settings() -> Settings:
    """No database is needed here."""
    return Settings(database_url="postgresql://nowhere/none", broker_url="redis://nowhere")  # type: ignore[arg-type]


class Speaking:
    """A mail server that says what it is told, step by step: an answer, or a function that has the connection."""

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        self._answers = answers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._speak)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        self._socket.close()
        assert not self._thread.is_alive()

    def _speak(self) -> None:
        client, _ = self._socket.accept()
        client.settimeout(30)
        with client, suppress(OSError):
            for number, answer in enumerate(self._answers):
                if number and not client.recv(4096):
                    return
                if callable(answer):
                    answer(client)
                else:
                    client.sendall(answer)
            client.recv(1)


def without_end(client: socket.socket) -> None:
    while True:
        client.sendall(b"250-more\r\n" * 1_000)


def one_long_line(client: socket.socket) -> None:
    while True:
        client.sendall(b"2" * 10_000)


def in_a_drip(client: socket.socket) -> None:
    while True:
        client.sendall(b"250-m\r\n")
        time.sleep(0.05)


def send(settings: Settings, port: int) -> MailResult:
    mailer = mailer_for(settings, port)
    words = {"subject": "Hi", "plain": "Hello", "html": "<p>Hello</p>", "message_id": "1.2"}
    message = mailer.message(to="ops@acme.test", date=datetime(2025, 8, 1, tzinfo=UTC), **words)
    assert message is not None
    return mailer.send(message)


GREETING, OK = b"220 mail.test\r\n", b"250 OK\r\n"


@pytest.mark.parametrize(
    ("after", "endless"), [(0, without_end), (1, without_end), (3, without_end), (1, one_long_line), (3, in_a_drip)]
)
def test_an_answer_without_end_is_a_clean_failure(
    settings: Settings, after: int, endless: Callable[[socket.socket], None]
) -> None:
    with Speaking(*[GREETING, OK, OK][:after], endless) as server:
        result = send(settings, server.port)
    assert isinstance(result, CleanFailure)
    assert result.unavailable


@pytest.mark.parametrize("endless", [without_end, one_long_line])
def test_the_last_answer_without_end_leaves_the_outcome_unknown(
    settings: Settings, endless: Callable[[socket.socket], None]
) -> None:
    def at_the_dot(client: socket.socket) -> None:
        client.sendall(b"354 go on\r\n")
        content = b""
        while not content.endswith(b"\r\n.\r\n"):
            content += client.recv(65536)
        endless(client)

    with Speaking(GREETING, OK, OK, OK, at_the_dot) as server:
        assert isinstance(send(settings, server.port), MaybeSent)


@pytest.mark.parametrize("text", hostile_values.TEXTS.values(), ids=hostile_values.TEXTS)
def test_what_the_server_says_is_reported_without_harm(settings: Settings, text: str) -> None:
    said = re.sub(rb"[\r\n]+", b" ", text.encode())
    for script in (
        [GREETING, OK, b"550 " + said + b"\r\n"],
        [GREETING, b"250-" + said + b"\r\n" + OK, OK, b"451 " + said],
    ):
        with Speaking(*script[:-1], script[-1].removesuffix(b"\r\n") + b"\xff\x80\r\n") as server:
            result = send(settings, server.port)
        assert isinstance(result, CleanFailure | PermanentFailure)
        assert not hostile_values.steering(result.detail, allowed="")
        assert len(result.detail) < 300
