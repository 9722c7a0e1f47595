"""A token server on the suite's receiver, and what its tests ask of that receiver."""

import json
from typing import Any

from dispatcher import enqueue
from dispatcher.receiver_auth.credentials import ClientCredentials
from tests.behaviours import Answer, Received
from tests.factories import MESSAGE, RECEIVED
from tests.receiver import Receiver

CLIENT_SECRET = "planted-client-secret"


class TokenServer:
    """Issues `token-1`, `token-2` and so on at `/token`, each after `delay` seconds."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._issued = 0
        self.expires_in = 3600
        self.delay = 0.0
        receiver.script("/token", self.issue)

    @property
    def asked(self) -> list[Received]:
        """The token requests so far."""
        return self._receiver.at("/token")

    def credentials(self, client_id: str = "the-client", **fields: Any) -> ClientCredentials:
        """What the engine needs for a token from here."""
        known = {"endpoint": self._receiver.url("/token"), "client_id": client_id, "client_secret": CLIENT_SECRET}
        return ClientCredentials(**{**known, **fields})

    def issue(self, _request: Received | None = None) -> Answer:
        """What it answers: the next token."""
        self._issued += 1
        token = {"access_token": f"token-{self._issued}", "token_type": "Bearer", "expires_in": self.expires_in}
        return Answer(200, body=json.dumps(token).encode(), delay=self.delay)


def store(count: int, event_type: str = RECEIVED) -> None:
    for _ in range(count):
        enqueue(event_type, MESSAGE, account="acme")


def shown(receiver: Receiver, path: str = "/hook") -> list[str | None]:
    """What the callbacks to a path had as their authorization."""
    return [callback.header("Authorization") for callback in receiver.at(path)]
