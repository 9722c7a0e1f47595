"""The baseline `http-bare`: an ASGI endpoint on the same server, which does one insert and one commit for each request
in 40 threads with a connection each. It has no keys, limits, webhooks or logs.

python -m benchmarks.bare_api PORT
"""

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import uvicorn

from dispatcher.web.__main__ import CHOSEN

_THREADS = 40
_threads = ThreadPoolExecutor(_THREADS)
_of_thread = threading.local()


def _connection() -> Any:
    if not hasattr(_of_thread, "connection"):
        _of_thread.connection = psycopg2.connect(os.environ["DATABASE_URL"].replace("+psycopg2", ""))
        _of_thread.connection.autocommit = True
    return _of_thread.connection


def _insert(body: bytes) -> None:
    with _connection().cursor() as cursor:
        cursor.execute("INSERT INTO bare_events (body) VALUES (%s)", (body,))


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    message = await receive()
    await asyncio.get_running_loop().run_in_executor(_threads, _insert, message["body"])
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    with psycopg2.connect(os.environ["DATABASE_URL"].replace("+psycopg2", "")) as made:
        made.cursor().execute(
            "CREATE TABLE IF NOT EXISTS bare_events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea)"
        )
    uvicorn.run(app, **{**CHOSEN, "lifespan": "off", "log_level": "warning"}, port=int(sys.argv[1]))
