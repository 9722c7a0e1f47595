"""The demo's customers: a web server that answers in five ways, and a mail server that keeps what it gets."""

import asyncio
import threading
import time
from collections import Counter
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from aiosmtpd.smtp import SMTP

from dispatcher.embedded.servers.ports import LOOPBACK

BEHAVIOURS = {
    "acknowledges": "answers 204",
    "rejects": "answers 400",
    "recovers": "answers 503 twice, then 200",
    "hangs": "never answers",
    "redirects": "answers 302 to another address",
}
REDIRECT_TARGET = "/elsewhere"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the usual 5 makes a burst of connections wait for a second


class Receiver:
    """A web server on loopback. The path's first part names its behaviour. `bodies` is what it got, by path."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {path: [] for path in (*BEHAVIOURS, "elsewhere")}
        self._seen: Counter[bytes] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server((LOOPBACK, 0), self._handler())
        self.port = self._server.server_port

    def url(self, behaviour: str) -> str:
        """The URL of a webhook with this behaviour, with a secret in the query, as customers use it."""
        return f"http://{LOOPBACK}:{self.port}/{behaviour}?secret=demo-{behaviour}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str, body: bytes) -> tuple[int, str | None]:
        with self._lock:
            self.bodies.setdefault(path, []).append(body)
            self._seen[path.encode() + body] += 1
            times = self._seen[path.encode() + body]
        match path:
            case "rejects":
                return 400, None
            case "recovers":
                return (503 if times <= 2 else 200), None
            case "hangs":
                self._closing.wait(60)
                return 200, None
            case "redirects":
                return 302, REDIRECT_TARGET
            case _:
                return 204, None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, location = answer(self.path.partition("?")[0].strip("/"), body)
                try:
                    self.send_response(status)
                    if location:
                        self.send_header("Location", location)
                    if status != 204:
                        self.send_header("Content-Length", "0")
                    self.end_headers()
                except ConnectionError:
                    self.close_connection = True  # it took too long, and the client is gone

            def log_message(self, *_: Any) -> None:
                """The demo prints what it got; the server logs nothing."""

        return Handler


class MailCatcher:
    """A mail server on loopback that delivers nothing. `mails`: what it got, as (seconds since start, to, subject)."""

    def __init__(self) -> None:
        self.mails: list[tuple[float, str, str]] = []
        self._started = time.monotonic()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mail catcher", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        # aiosmtpd's own Controller cannot listen on a port that the system chooses.
        serving = self._loop.create_server(lambda: SMTP(self, loop=self._loop), "127.0.0.1", 0)
        self._server = self._loop.run_until_complete(serving)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Keeps one mail."""
        mail = message_from_bytes(envelope.content, policy=default)
        self.mails.append((time.monotonic() - self._started, str(mail["To"]), str(mail["Subject"])))
        return "250 kept"
