"""The port on which a node's main process shows what its children count, and whether it is well.

A thread serves it, so it answers also while the broker is away. Whoever connects has a few seconds, and less if many
others connect: so nobody can keep them from it.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address
from threading import Thread

from celery import signals
from pydantic import SecretStr

from dispatcher.errors import ConfigurationError
from dispatcher.metrics.family import BUILD, Cells, Family, Kind, Values, values_of
from dispatcher.metrics.page import CONTENT_TYPE, page, shows_token
from dispatcher.metrics.progress import own
from dispatcher.version import __version__
from workers.metrics.families import CLOCK_OFFSET, FAMILIES, PLACES
from workers.shared_memory import cells_of

CHILDREN = Family("dispatcher_children", Kind.GAUGE, "Children that the node has, as its command line says.")
SECONDS = 5.0  # that a connection may take
MOST = 20  # connections at once; one more ends the one that has been silent for longest
HEAD = 8 * 1024  # bytes of a request's

# Nothing secret, so without the token.
_WELL = {"/healthz": lambda: not own().stands, "/readyz": lambda: own().is_ready}


class Port:
    """Of one node. Making it takes the address. Raises ConfigurationError if that cannot be had, or would show metrics
    to everybody."""

    def __init__(self, host: str, port: int, token: SecretStr) -> None:
        address = ip_address(host)
        if not address.is_loopback and not token.get_secret_value():
            raise ConfigurationError(
                f"--metrics {host}:{port} can be reached from other machines: set DISPATCHER_METRICS_TOKEN, which "
                "Prometheus then shows, or leave the address out"
            )
        try:
            self._socket = socket.create_server(
                (host, port), family=socket.AF_INET6 if address.version == 6 else socket.AF_INET
            )
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise ConfigurationError(
                f"--metrics: {host} port {port} cannot be used ({why}): name another one. Each node of a machine needs "
                "its own"
            ) from None
        self._token = token.get_secret_value()
        self._children: list[Cells] = []
        self._open: dict[asyncio.Task[None] | None, None] = {}  # the oldest first

    def begin(self) -> None:
        """Serves it, until the process ends: at first only whether it is well."""
        # A child must not hold it: the next node could not have it.
        signals.worker_process_init.connect(lambda **_: self._socket.close(), weak=False)
        Thread(target=lambda: asyncio.run(self._serve()), name="metrics", daemon=True).start()

    def show(self, children: int) -> None:
        """From now on what this many children count, too. Their memory must be shared already."""
        self._children = [cells_of(index) for index in range(children)]

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, sock=self._socket, limit=HEAD)
        await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        self._open[this] = None
        if len(self._open) > MOST and (oldest := next(iter(self._open))) is not None:
            oldest.cancel()
        try:
            async with asyncio.timeout(SECONDS):
                writer.write(self._answer_to(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
                writer.write_eof()  # a child that is forked just now has the connection open, too
        except (TimeoutError, asyncio.CancelledError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            writer.transport.abort()
        finally:
            del self._open[this]
            with suppress(OSError):
                writer.close()

    def _answer_to(self, head: bytes) -> bytes:
        """`head`: a request's, with its last, empty line."""
        request, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path not in _WELL and path != "/metrics":
            return _message(HTTPStatus.NOT_FOUND)
        if method != "GET":
            return _message(HTTPStatus.METHOD_NOT_ALLOWED)
        if path in _WELL:
            return _message(HTTPStatus.OK if _WELL[path]() else HTTPStatus.SERVICE_UNAVAILABLE)
        if self._token and not shows_token(headers.get("authorization"), self._token):
            return _message(HTTPStatus.UNAUTHORIZED, more="WWW-Authenticate: Bearer\r\n")
        if not self._children:
            return _message(HTTPStatus.SERVICE_UNAVAILABLE)
        return _message(HTTPStatus.OK, page([(family, self._sums(family)) for family in FAMILIES] + self._own()))

    def _sums(self, family: Family) -> Values:
        """What the children say together of a family."""
        each = [values_of(family, PLACES, child) for child in self._children]
        if family is CLOCK_OFFSET:  # it is the machine's
            return {(): max((values[()] for values in each), key=lambda numbers: abs(numbers[0]))}
        return {labels: _sum([values[labels] for values in each]) for labels in family.series}

    def _own(self) -> list[tuple[Family, Values]]:
        return [(BUILD, {(__version__,): (1.0,)}), (CHILDREN, {(): (float(len(self._children)),)})]


def _sum(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(numbers) for numbers in zip(*rows, strict=True)]


def _message(status: HTTPStatus, body: bytes | None = None, *, more: str = "") -> bytes:
    body = f"{status.phrase}\n".encode() if body is None else body
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n{more}\r\n"
    )
    return head.encode() + body
