"""`dispatcher listen`: a receiver on this machine that shows each callback and checks its signature."""

import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Annotated

import typer

from dispatcher.cli.output import AsJson, print_json, print_line, print_section, print_text
from dispatcher.cli.secret_sources import read_secret
from dispatcher.events.raw_json import compact
from dispatcher.signing.verifier import SignatureKey

MAX_BODY = 16 * 1024 * 1024
_SHOWN_HEADERS = ("Dispatcher-Event-Type", "Dispatcher-Event-Id", "Dispatcher-Attempt", "Dispatcher-Batch-Size")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog="Example: dispatcher listen --port 9000 --key-from - --answer 204")(listen)


def listen(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen on 127.0.0.1; 0: any free port.")] = 9000,
    key_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Where the key is read from with which signatures are checked (whsec_, whpk_ or whsk_): the file's "
            "first line; `-`: standard input.",
        ),
    ] = None,
    answer: Annotated[
        int, typer.Option(min=200, max=999, help="The status that every callback is answered with.")
    ] = 204,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many requests. Default: at Ctrl-C.")] = None,
    json: AsJson = False,
) -> None:
    """Receive callbacks on this machine and show them. The egress policy refuses this machine's addresses: to have
    callbacks sent here, allow them (DISPATCHER_ALLOWED_NETWORKS=127.0.0.0/8)."""
    key = SignatureKey(read_secret(key_from, "signing key", "--key-from")) if key_from is not None else None
    with (
        _server(port, _handler(key, answer, _print_as_json if json else _print)) as server,
        suppress(KeyboardInterrupt),
    ):
        print_line(f"Listening on http://127.0.0.1:{server.server_address[1]}/ until Ctrl-C", stderr=True)
        while count is None or count > 0:
            server.handle_request()
            count = None if count is None else count - 1


class Callback:
    """One request as it came, and what its signature is worth."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: bytes, key: SignatureKey | None) -> None:
        self.method, self.target, self.body = handler.command, handler.path, body
        self.headers = list(handler.headers.items())
        by_name = {name.lower(): value for name, value in self.headers}
        self.signature = str(key.check(by_name, body, now=time.time())) if key is not None else None
        self.about = {name: by_name[name.lower()] for name in _SHOWN_HEADERS if name.lower() in by_name}

    @property
    def text(self) -> str:
        """The body to be read: JSON as it came, on one line."""
        text = self.body.decode(errors="backslashreplace")
        try:
            return compact(text)
        except (ValueError, RecursionError):
            return text


def _server(port: int, handler: type[BaseHTTPRequestHandler]) -> HTTPServer:
    try:
        return HTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise typer.BadParameter(f"{port} cannot be listened on: {error.strerror}", param_hint="--port") from None


def _handler(key: SignatureKey | None, answer: int, show: Callable[[Callback], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers on a connection of its own each, one after the other."""

        timeout = 30.0

        def handle_any(self) -> None:
            length = self.headers.get("content-length", "0")
            if not (length.isascii() and length.isdecimal() and int(length) <= MAX_BODY):
                self.send_error(413)
                return
            callback = Callback(self, self.rfile.read(int(length)), key)
            self.send_response_only(answer)
            self.send_header("Content-Length", "0")
            self.end_headers()
            show(callback)

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - named by the standard library

        def log_message(self, *_: object) -> None:
            """What is to be said of a callback is shown."""

    return Handler


def _print(callback: Callback) -> None:
    print_section(f"{time.strftime('%H:%M:%S')} {callback.method} {callback.target}")
    words = [f"{name.removeprefix('Dispatcher-')}: {value}" for name, value in callback.about.items()]
    if callback.signature is not None:
        words.append(f"signature: {callback.signature}")
    for word in words:
        print_line(f"  {word}")
    print_text(callback.text)


def _print_as_json(callback: Callback) -> None:
    print_json(
        {
            "method": callback.method,
            "target": callback.target,
            "headers": callback.headers,
            "body": callback.body.decode(errors="backslashreplace"),
            "signature": callback.signature,
        },
        indent=None,
    )
