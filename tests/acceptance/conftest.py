"""The ports that an engine prefers, on a machine where others may also start engines."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from dispatcher.embedded.up import API_PORT, FLOWER_PORT


@pytest.fixture(scope="module")
def usual_ports_taken() -> Iterator[None]:
    """Takes the usual ports, unless another program has them, so that engines use free ones: two that start at the same
    time would both find a usual one free."""
    with contextlib.ExitStack() as held:
        for port in (API_PORT, FLOWER_PORT):
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
        yield
