"""`dispatcher listen`: a receiver on this machine that shows each callback and checks its signature."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Annotated

import typer

from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, print_json, print_line
from dispatcher.cli.own_webhook import own_webhook
from dispatcher.cli.secret_sources import read_secret
from dispatcher.embedded.servers.ports import preferred_port
from dispatcher.errors import NotSigned, UnreadableBody, VerificationError
from dispatcher.event_types import ALL
from dispatcher.events.raw_json import compact
from dispatcher.verify import Headers, Verifier

MAX_BODY = 16 * 1024 * 1024
_USUAL_PORT = 9000
_ABOUT = {"event-type": "{}", "event-id": "event {}", "batch-size": "batch of {}", "attempt": "attempt {}"}

app = Commands()


@app.command(epilog="Example: dispatcher listen --register --account acme --type message")
def listen(
    *,
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any", show_default="9000 or free")
    ] = None,
    register: Annotated[bool, typer.Option("--register", help="Register as a webhook of --account")] = False,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="The account, by name or id")] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="An event type or prefix it takes", show_default="all"),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep that webhook when this ends")] = False,
    key_from: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Key (whsec_, whpk_, whsk_) to check signatures with; -: stdin"),
    ] = None,
    answer: Annotated[int, typer.Option(min=200, max=999, help="Status to answer with")] = 204,
    count: Annotated[int | None, typer.Option(min=1, help="End after this many requests", show_default="none")] = None,
    json: AsJson = False,
) -> None:
    """Receive callbacks on this machine and show them.

    One line for each, with the result of its signature check. --register needs no key, and makes the account if it is
    missing. By default no engine calls this machine; one that was started by `dispatcher up --dev` does.
    Exit status: 0 also when stopped by Ctrl-C.
    """
    if register != (account is not None):
        raise typer.BadParameter("--register and --account go together")
    if not register and (types or keep):
        raise typer.BadParameter("--type and --keep are for --register")
    if register and key_from is not None:
        raise typer.BadParameter("--register knows the key: leave --key-from out")
    show = _print_as_json if json else _print
    verifier = Verifier(read_secret(key_from, "signing key", "--key-from")) if key_from is not None else None
    with ExitStack() as stack:
        stack.enter_context(suppress(KeyboardInterrupt))
        stack.enter_context(_ended_by(signal.SIGTERM, signal.SIGHUP))
        server = stack.enter_context(_server(port))
        at = int(server.server_address[1])
        if account is not None:
            installation = installation_of(context)
            made = stack.enter_context(own_webhook(installation, account, at, types or [ALL], keep=keep))
            keys = made.secrets.signing_keys
            verifier = Verifier(keys[0].secret) if keys else None
        server.RequestHandlerClass = _handler(verifier, answer, show)
        print_line(f"Listening on http://127.0.0.1:{at}/ until Ctrl-C", stderr=True)
        while count is None or count > 0:
            server.handle_request()
            count = None if count is None else count - 1


class Callback:
    """One request as received, and the result of its signature check."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: bytes, verifier: Verifier | None) -> None:
        self.method, self.target, self.body = handler.command, handler.path, body
        self.headers = list(handler.headers.items())
        by_name = {name.lower(): value for name, value in self.headers}
        self.signature = _verdict(verifier, handler.headers, body) if verifier is not None else None
        values = {words: by_name.get(f"dispatcher-{name}") for name, words in _ABOUT.items()}
        self.about = [words.format(value) for words, value in values.items() if value is not None]

    @property
    def text(self) -> str:
        """The body as text, JSON on one line."""
        text = self.body.decode(errors="backslashreplace")
        try:
            return compact(text)
        except (ValueError, RecursionError):
            return text


def _verdict(verifier: Verifier, headers: Headers, body: bytes) -> str:
    try:
        verifier.verify(headers, body)
    except NotSigned as error:
        return str(error)
    except UnreadableBody:
        pass  # with GET the message is in the URL
    except VerificationError as error:
        return f"bad: {error}"
    return "good"


def _server(port: int | None) -> HTTPServer:
    wanted = preferred_port(_USUAL_PORT) if port is None else port
    try:
        return HTTPServer(("127.0.0.1", wanted), BaseHTTPRequestHandler)
    except OSError as error:
        raise typer.BadParameter(f"{wanted} cannot be listened on: {error.strerror}", param_hint="--port") from None


@contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """These signals end the block as Ctrl-C does."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handler(verifier: Verifier | None, answer: int, show: Callable[[Callback], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers one request after the other, each on its own connection."""

        timeout = 30.0

        def handle_any(self) -> None:
            length = self.headers.get("content-length", "0")
            if not (length.isascii() and length.isdecimal() and int(length) <= MAX_BODY):
                self.send_error(413)
                return
            callback = Callback(self, self.rfile.read(int(length)), verifier)
            self.send_response_only(answer)
            self.send_header("Content-Length", "0")
            self.end_headers()
            show(callback)

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - named by the standard library

        def log_message(self, *_: object) -> None:
            """Logs nothing: callbacks are shown instead."""

    return Handler


def _print(callback: Callback) -> None:
    words = [time.strftime("%H:%M:%S"), f"{callback.method} {callback.target}", *callback.about]
    if callback.signature is not None:
        words.append(f"signature {callback.signature}")
    print_line("  ".join((*words, callback.text)))


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
