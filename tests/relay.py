"""A TCP relay on loopback that a test can cut, or make silent: the server behind it disappears and comes back, at one
address."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from pydantic import SecretStr
from sqlalchemy import make_url

from dispatcher.settings import Settings


class Relay:
    """Forwards connections to `port` of this machine. `cut` ends them all and refuses new ones until `restore`. While
    it is `silent`, it takes connections and all that is sent, and passes nothing on."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._lost_after: bytes | None = None
        self._passes_on = threading.Event()
        self._passes_on.set()
        self._listener: socket.socket | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self.speak()

    def restore(self) -> None:
        """Accepts connections (again), on the same port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(100)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def be_silent(self) -> None:
        """Acts as if the server behind it stood still: the kernel acknowledges, and nobody answers."""
        self._passes_on.clear()

    def speak(self) -> None:
        """Passes on what came meanwhile, and all that follows."""
        self._passes_on.set()

    def lose_answer_to_commit(self, after: bytes) -> None:
        """Ends the next connection that sends COMMIT after this text, once: the server gets the COMMIT, and nobody its
        answer."""
        self._lost_after = after

    @property
    def lost(self) -> bool:
        """Whether that has happened."""
        return self._lost_after is None

    def cut(self) -> None:
        """Acts as if the server behind it had died."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
            self._listener.close()
            self._listener = None
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:  # nothing is there: as if it had been refused
                near.close()
                continue
            with self._lock:
                self._connections |= {near, far}
            deaf = threading.Event()
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink, deaf), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, deaf: threading.Event) -> None:
        sent, to_server = b"", source.getpeername() != self._target
        with suppress(OSError):
            while data := source.recv(65536):
                if to_server and self._lost_after is not None:
                    sent += data
                    if self._lost_after in sent and b"COMMIT" in sent.rpartition(self._lost_after)[2]:
                        self._lost_after = None
                        deaf.set()
                if deaf.is_set() and not to_server:
                    break
                self._passes_on.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._connections.discard(source)
        source.close()


@contextmanager
def relayed(settings: Settings) -> Iterator[tuple[Relay, Settings]]:
    """The settings with a relay before the database."""
    url = make_url(settings.database_url.get_secret_value())
    with Relay(url.port or 5432) as relay:
        through = url.set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)
        yield relay, settings.model_copy(update={"database_url": SecretStr(through)})
