"""A receiver over TLS that sends in one piece what a usual one sends in two."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress


@contextmanager
def answering_in_one_piece(context: ssl.SSLContext, answer: bytes, *, unasked: bool = False) -> Iterator[str]:
    """A receiver's URL. It sends the answer and the end of TLS in one piece, or, `unasked`, the answer with the end
    of the handshake. The connection below stays open."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as open_ones:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    accepted, _ = listening.accept()
                    answer_to(open_ones.enter_context(accepted))

        def answer_to(connection: socket.socket) -> None:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_side=True)
            for step in (tls.do_handshake,) if unasked else (tls.do_handshake, tls.read):
                while not was_done(step):
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(65_536))
            tls.write(answer)
            assert unasked or not was_done(tls.unwrap)  # it would wait for the other end's
            connection.sendall(outgoing.read())

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/"


def was_done(step: Callable[[], object]) -> bool:
    try:
        step()
    except ssl.SSLWantReadError:
        return False
    return True
