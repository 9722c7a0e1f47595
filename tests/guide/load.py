"""A backend that enqueues all the time, and what its receiver got of that."""

import threading
from collections import Counter
from types import TracebackType
from typing import Self

from pydantic import SecretStr
from sqlalchemy import make_url

from dispatcher import Producer, enqueue
from dispatcher.errors import DispatcherError
from dispatcher.settings import Settings
from tests.factories import RECEIVED
from tests.receiver import Receiver


class Load:
    """Events one after the other, from a thread. Use it as a context manager, which ends when all have been
    delivered."""

    def __init__(self, database_url: str, broker_url: str, receiver: Receiver) -> None:
        settings = Settings(database_url=SecretStr(database_url), broker_url=SecretStr(broker_url))
        self._producer, self._receiver = Producer(settings), receiver
        self._name = make_url(database_url).database
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, name="load")
        self._failed: list[DispatcherError] = []
        self.sent: list[str] = []

    def send(self, name: str) -> None:
        """One event, with this id."""
        enqueue(RECEIVED, {"id": name, "body": "Yes"}, account="acme", producer=self._producer)
        self.sent.append(name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, error: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(30)
        self._producer.close()
        if error is None:
            assert self._failed == []
            self.wait()

    def wait(self) -> None:
        """Until all have been delivered."""
        self._receiver.wait_until(lambda _: set(received(self._receiver)) >= set(self.sent), 60)

    def _send(self) -> None:
        try:
            while not self._ended.wait(0.05):
                self.send(f"{self._name} {len(self.sent)}")
        except DispatcherError as error:
            self._failed.append(error)


def received(receiver: Receiver) -> Counter[str]:
    """How often each message has come, by its id."""
    return Counter(message["id"] for request in receiver.received for message in request.json())
