"""The options of the API process. Loads nothing of it."""

from argparse import ArgumentParser, ArgumentTypeError


def add_options(parser: ArgumentParser) -> None:
    """Adds them under the names that the HTTP server has for them."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8080, help="port; 0: any that is free (default: %(default)s)")
    parser.add_argument("--root-path", default="", metavar="PATH", help="below which a reverse proxy serves the API")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:  # the server would take what is left of it modulo 65536
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 to 65535")
    return int(text)
