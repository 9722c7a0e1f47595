"""Runs the HTTP API, `dispatcher.asgi`, on the server that it is made for: `python -P -m dispatcher.web`."""

import socket
import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from typing import Any

import uvicorn

from dispatcher.errors import ConfigurationError
from dispatcher.logs.process import begin_process, refuse
from dispatcher.metrics.progress import own
from dispatcher.settings import Settings, read_settings
from dispatcher.web.arguments import add_options
from dispatcher.web.http_protocol import DispatcherHttpProtocol

GRACE_SECONDS = 20
_NOT_STARTED = 3  # as uvicorn's own command ends


def main() -> None:
    parser = ArgumentParser(prog="python -P -m dispatcher.web", description="Runs the HTTP API.")
    add_options(parser)
    options = parser.parse_args()
    begin_process("api")
    try:
        settings = read_settings()
    except ConfigurationError as error:
        refuse(error)
    serve(options, settings)


def serve(options: Namespace, settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; requests in flight then have 20 s to end."""
    proxies = settings.trusted_proxies.replace(" ", "")
    config = uvicorn.Config("dispatcher.asgi:app", **CHOSEN, **vars(options), forwarded_allow_ips=proxies)
    config.load_app()
    server = _Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_NOT_STARTED)


class _Server(uvicorn.Server):
    """The server, which notes that its loop turns."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            own().begin()

    async def on_tick(self, counter: int) -> bool:
        own().turned()
        return await super().on_tick(counter)


CHOSEN: dict[str, Any] = {
    "loop": "uvloop",
    "http": DispatcherHttpProtocol,
    "ws": "none",
    "log_config": None,  # its lines are log lines as all others
    "access_log": False,  # its lines have no request id and contain queries; ours are in `dispatcher.web.access_log`
    "server_header": False,
    "timeout_graceful_shutdown": GRACE_SECONDS,
}

if __name__ == "__main__":
    main()
