"""A receiver on this machine: it keeps what it is sent, checks signatures, and answers as it is told."""

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeAlias

from dispatcher.errors import NotSigned, UnreadableBody, VerificationError
from dispatcher.verify import Verifier

MAX_BODY = 16 * 1024 * 1024
_READ_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Callback:
    """One request as it came, and what its signature is worth: "good", "not signed", or "bad: " and why. None: there
    was no key to check it with."""

    method: str
    target: str  # path and query
    headers: tuple[tuple[str, str], ...]
    body: bytes
    signature: str | None = None

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name; None without it."""
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)

    @property
    def json(self) -> Any:
        """The body as JSON. Raises ValueError if it is none."""
        return json.loads(self.body)

    @property
    def event_id(self) -> str | None:
        """The event's id, the same in each attempt; None for a batch."""
        return self.header("Dispatcher-Event-Id")

    @property
    def event_type(self) -> str | None:
        return self.header("Dispatcher-Event-Type")

    @property
    def attempt(self) -> int | None:
        """The number of the attempt, from 1; None for a batch."""
        number = self.header("Dispatcher-Attempt")
        return int(number) if number is not None else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answers, `delay` seconds after it has read the request."""

    status: int = 204
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


Answering: TypeAlias = Callable[[Callback], Answer]
Checking: TypeAlias = Callable[[Mapping[str, str], bytes], str]


def checking(key: str) -> Checking:
    """What says what a signature is worth, by a key: `whsec_`, `whsk_` or `whpk_`. It takes headers, by their names in
    lower case, and a body. Raises InvalidKey for anything that is no key, without repeating it."""
    verifier = Verifier(key)

    def verdict(headers: Mapping[str, str], body: bytes) -> str:
        try:
            verifier.verify(headers, body)
        except NotSigned as error:
            return str(error)
        except UnreadableBody:
            pass  # with GET the message is in the URL
        except VerificationError as error:
            return f"bad: {error}"
        return "good"

    return verdict


class CallbackServer(ThreadingHTTPServer):
    """A server on 127.0.0.1, each request in a thread of its own: one that is answered late keeps none waiting.
    `answering` decides on the answer; then `seen` is told what came, and what was answered. `check` can be set before
    the first request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        answering: Answering,
        seen: Callable[[Callback, Answer], None] = lambda *_: None,
        *,
        check: Checking | None = None,
    ) -> None:
        """Listens at once; port 0: any that is free. Raises OSError if it is taken."""
        self.answering, self.seen, self.check = answering, seen, check
        self.ended = threading.Semaphore(0)  # one for each request that has been dealt with
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.ended.release()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    """Reads a request and answers it; its connection is closed then."""

    server: CallbackServer
    timeout = _READ_SECONDS

    def handle_any(self) -> None:
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal() and int(length) <= MAX_BODY):
            self.send_error(413)
            return
        body, headers = self.rfile.read(int(length)), tuple(self.headers.items())
        checked = None
        if self.server.check is not None:
            checked = self.server.check({name.lower(): value for name, value in headers}, body)
        callback = Callback(self.command, self.path, headers, body, checked)
        answer = self.server.answering(callback)
        time.sleep(answer.delay)
        try:
            self._answer(answer)
        except ConnectionError:
            pass  # who sent it no longer waits
        finally:
            self.server.seen(callback, answer)

    def _answer(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - named by the standard library

    def log_message(self, *_: object) -> None:
        """Logs nothing: callbacks are kept or shown instead."""


class WebhookReceiver:
    """The receiver of a test. Use it as a context manager, or as the fixture `webhook_receiver`.

    A webhook that leads to `url` and has `key` as its signing key sends callbacks whose signature is good. Without
    other answers it answers 204.
    """

    def __init__(self, key: str | None = None) -> None:
        """`key`: what signatures are checked with, `whsec_...` or `whpk_...`; default: a new one. Raises
        InvalidKey for anything that is no key."""
        self.key = key or f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        self._changed = threading.Condition()
        self._callbacks: list[Callback] = []
        self._answers: list[Answer] = [Answer()]
        self._server = CallbackServer(0, self._take, check=checking(self.key))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._server.origin}/"

    @property
    def callbacks(self) -> list[Callback]:
        """What came so far, in order; what is answered late is there at once."""
        with self._changed:
            return list(self._callbacks)

    def answer(self, *answers: Answer | int) -> None:
        """What is answered from now on: each once, in order, then the last one always. A number is a status."""
        if not answers:
            raise ValueError("give at least one answer")
        with self._changed:
            self._answers = [Answer(one) if isinstance(one, int) else one for one in answers]

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Callback]:
        """All callbacks, once there are `count` of them. Raises AssertionError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._callbacks) >= count, timeout):
                raise AssertionError(
                    f"after {timeout:g} s there are {len(self._callbacks)} callbacks, not {count}:"
                    f" {_listed(self._callbacks)}"
                )
            return list(self._callbacks)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, callback: Callback) -> Answer:
        """Keeps it before it is answered: whoever has the answer finds it."""
        with self._changed:
            self._callbacks.append(callback)
            self._changed.notify_all()
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def _listed(callbacks: Sequence[Callback]) -> str:
    return ", ".join(f"{one.method} {one.target} {one.event_type or ''}".rstrip() for one in callbacks) or "none"
