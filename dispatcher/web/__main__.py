"""Runs the HTTP API, `dispatcher.asgi`, on the server that it is made for: `python -P -m dispatcher.web`."""

import argparse
from typing import Any

import uvicorn

from dispatcher.web.http_protocol import DispatcherHttpProtocol

GRACE_SECONDS = 20


def main() -> None:
    """Serves until SIGTERM or SIGINT; requests in flight then have 20 s to end."""
    parser = argparse.ArgumentParser(prog="python -P -m dispatcher.web", description="Runs the HTTP API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port; 0: any that is free (default: %(default)s)")
    parser.add_argument("--root-path", default="", metavar="PATH", help="below which a reverse proxy serves the API")
    parser.add_argument(
        "--forwarded-allow-ips",
        metavar="LIST",
        help="addresses of reverse proxies whose X-Forwarded-* headers are believed, separated by commas "
        "(default: FORWARDED_ALLOW_IPS, or 127.0.0.1)",
    )
    uvicorn.run("dispatcher.asgi:app", **CHOSEN, **vars(parser.parse_args()))


CHOSEN: dict[str, Any] = {
    "loop": "uvloop",
    "http": DispatcherHttpProtocol,
    "ws": "none",
    "access_log": False,  # its lines have no request id and contain queries; ours are in `dispatcher.web.access_log`
    "server_header": False,
    "timeout_graceful_shutdown": GRACE_SECONDS,
}

if __name__ == "__main__":
    main()
