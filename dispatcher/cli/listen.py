"""`dispatcher listen`: a receiver on this machine that shows each callback and checks its signature."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Annotated

import typer

from dispatcher.cli.answering import Answers, Target
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.output import AsJson, print_json, print_line
from dispatcher.cli.own_webhook import own_webhook
from dispatcher.cli.secret_sources import read_secret
from dispatcher.embedded.servers.ports import preferred_port
from dispatcher.event_types import ALL
from dispatcher.events.raw_json import compact
from dispatcher.testing.receiver import Answer, Answering, Callback, CallbackServer, checking

_USUAL_PORT = 9000
_ABOUT = {"event-type": "{}", "event-id": "event {}", "batch-size": "batch of {}", "attempt": "attempt {}"}

app = Commands()


@app.command(epilog="Example: dispatcher listen --register --account acme --type message")
def listen(
    *,
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0: any", show_default="9000 or free")
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
        typer.Option(metavar="FILE", help="Key to check with, of --register to sign with; -: stdin"),
    ] = None,
    status: Annotated[
        int | None, typer.Option(min=200, max=999, help="Status to answer with", show_default="204")
    ] = None,
    forward: Annotated[
        str | None, typer.Option(metavar="URL", help="Hand each on to a program, answer as it does")
    ] = None,
    fail_rate: Annotated[float, typer.Option(min=0, max=1, help="Which part to answer 503, by chance")] = 0,
    delay: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait before each answer")] = 0,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many requests", show_default="none")] = None,
    json: AsJson = False,
) -> None:
    """Receive callbacks on this machine and show them.

    One line for each, with the result of its signature check and what was answered. --register needs no key, and makes
    the account if it is missing; a program that checks signatures itself needs one that it knows. By default no engine
    calls this machine; one that was started by `dispatcher up --dev` does. With --forward the answer is 502 if the
    program gives none.
    Exit status: 0 also when stopped by Ctrl-C.
    """
    if register != (account is not None):
        raise typer.BadParameter("--register and --account go together")
    if not register and (types or keep):
        raise typer.BadParameter("--type and --keep are for --register")
    if forward is not None and status is not None:
        raise typer.BadParameter("--forward answers as the program does: leave --status out")
    target = _target(forward) if forward is not None else None
    answers = Answers(target, status or 204, fail_rate=fail_rate, delay=delay)
    show = _print_as_json if json else _print
    printing = threading.Lock()

    def seen(callback: Callback, answer: Answer) -> None:
        with printing:
            show(callback, answer)

    key = read_secret(key_from, "signing key", "--key-from") if key_from is not None else None
    check = checking(key) if key is not None else None
    with ExitStack() as stack:
        stack.enter_context(suppress(KeyboardInterrupt))
        stack.enter_context(_ended_by(signal.SIGTERM, signal.SIGHUP))
        server = stack.enter_context(_server(port, answers, seen))
        stack.callback(printing.acquire)  # what is being printed is printed to its end
        at = int(server.server_address[1])
        if account is not None:
            installation = installation_of(context)
            made = stack.enter_context(own_webhook(installation, account, at, types or [ALL], key, keep=keep))
            keys = made.secrets.signing_keys
            check = checking(keys[0].secret) if keys else None
        server.check = check
        print_line(f"Listening on http://127.0.0.1:{at}/ until Ctrl-C", stderr=True)
        begun = 0
        while count is None or begun < count:
            server.handle_request()
            begun += 1
        for _ in range(begun):
            server.ended.acquire()


def _target(url: str) -> Target:
    try:
        return Target(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--forward") from None


def _server(port: int | None, answering: Answering, seen: Callable[[Callback, Answer], None]) -> CallbackServer:
    wanted = preferred_port(_USUAL_PORT) if port is None else port
    try:
        return CallbackServer(wanted, answering, seen)
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


def _print(callback: Callback, answer: Answer) -> None:
    values = {words: callback.header(f"dispatcher-{name}") for name, words in _ABOUT.items()}
    words = [time.strftime("%H:%M:%S"), f"{callback.method} {callback.target}"]
    words += [text.format(value) for text, value in values.items() if value is not None]
    if callback.signature is not None:
        words.append(f"signature {callback.signature}")
    print_line("  ".join((*words, f"answered {answer.status}", _text(callback.body))))


def _print_as_json(callback: Callback, answer: Answer) -> None:
    print_json(
        {
            "method": callback.method,
            "target": callback.target,
            "headers": callback.headers,
            "body": callback.body.decode(errors="backslashreplace"),
            "signature": callback.signature,
            "answered": answer.status,
        },
        indent=None,
    )


def _text(body: bytes) -> str:
    """The body as text, JSON on one line."""
    text = body.decode(errors="backslashreplace")
    try:
        return compact(text)
    except (ValueError, RecursionError):
        return text
