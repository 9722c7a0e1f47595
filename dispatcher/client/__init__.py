"""The HTTP API from Python: `Client` with calls that block, `AsyncClient` for asyncio.

from dispatcher.client import Client
with Client("https://hooks.example.com", key) as client:
    client.send_event(type="message.outbound.sent", data={"id": "7"}, idempotency_key="sms-7-sent")

Each operation of docs/openapi.json is a method of its id. What answers show are the dataclasses of
`dispatcher.client.documents`, what bodies send the dictionaries of `dispatcher.client.bodies`.
"""

from dispatcher.client.clients import AsyncClient, Client
from dispatcher.client.errors import ApiError, NoAnswer, Problem, UnexpectedAnswer

__all__ = ["ApiError", "AsyncClient", "Client", "NoAnswer", "Problem", "UnexpectedAnswer"]
