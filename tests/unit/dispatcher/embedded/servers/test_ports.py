"""Finding TCP ports that nobody listens on."""

import socket

from dispatcher.embedded.servers.ports import free_port, is_free, preferred_port


def test_the_preferred_port_is_used_where_it_is_free_and_another_one_where_it_is_not() -> None:
    port = free_port()
    assert preferred_port(port) == port
    assert preferred_port(port, taken=frozenset({port})) != port

    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert preferred_port(port) != port
