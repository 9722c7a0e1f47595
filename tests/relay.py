"""A TCP relay on loopback before a server: what it does to connections is what a network, a host or a server that fails
does to them. It has a thread of its own; every method may be called from any thread.

What disappears without a word (`vanish`) needs no privileges and no rules of a firewall: a socket filter that takes
nothing drops packets before TCP answers them, as if there were no host. So only what the clients' own kernel notices
ends a connection: keep-alives and `TCP_USER_TIMEOUT`.
"""

import asyncio
import ctypes
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self, cast

from pydantic import SecretStr
from sqlalchemy import make_url

from dispatcher.settings import Settings

_RST_AT_CLOSE = struct.pack("ii", 1, 0)
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # Linux
_TAKE_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)  # BPF: return 0
_CLOSED_WITHIN = 1.0  # seconds
_FULL = 1 << 20  # bytes that may wait for a peer before the other one is not read any more
_QUIET_SECONDS = 0.06  # what was sent is acknowledged by then: nothing is sent again, which would be a sign of life
_WATCHED = 1 << 16  # bytes from a client, of the last, in which a text is looked for


class Relay:
    """Forwards connections to `port` of this machine. `restore` ends whatever is wrong."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._lost_after: tuple[bytes, bytes] | None = None
        self.delay_seconds = 0.0  # of each direction
        self.is_silent = False
        self.accepted = 0
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._call(self._end_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # What can be wrong

    def restore(self) -> None:
        """All is well: connections are accepted (again), on the same port, and what is open goes on."""
        self.delay_seconds, self._lost_after, self.is_silent = 0.0, None, False
        self._call(self._restore)

    def cut(self) -> None:
        """The server has ended: its connections are closed, and new ones refused."""
        self._call(self._refuse)
        self._call(lambda: [link.close() for link in list(self._links)])
        until = time.monotonic() + _CLOSED_WITHIN
        while self._links and time.monotonic() < until:  # what nobody reads stays a little longer
            time.sleep(0.001)

    def reset(self) -> None:
        """All connections are reset, on both sides. New ones are accepted."""
        self._call(lambda: [link.reset() for link in list(self._links)])

    def be_silent(self) -> None:
        """The server stands still: it takes connections and all that is sent, as far as its kernel does that, and
        answers nothing."""
        self.is_silent = True
        self._call(lambda: [link.hold() for link in self._links])

    def vanish(self, *, new: bool, server: bool = True) -> None:
        """Nothing arrives any more, and nothing is answered: of all open connections, and with `new` of new ones, too.
        `server`: it does not notice either. Otherwise its ends are closed, as those of a server that is gone."""
        self._call(lambda: [link.hold() for link in self._links])
        time.sleep(_QUIET_SECONDS)

        def vanish() -> None:
            if new and self._listener is not None:
                _drop_packets(self._listener)
            for link in list(self._links):
                link.vanish(server=server)

        self._call(vanish)

    def forget(self) -> None:
        """The server was started again and knows no connection: a client learns so when it next sends something. The
        server's ends stay open, as of clients that are gone."""
        self._call(lambda: [link.forget() for link in self._links])

    def lose_answer(self, after: bytes, to: bytes = b"COMMIT") -> None:
        """Ends the next connection that sends `to` after the text `after`, once: the server gets it, and nobody its
        answer."""
        self._lost_after = after, to

    @property
    def lost(self) -> bool:
        """Whether that has happened."""
        return self._lost_after is None

    # In the loop's thread

    def _call(self, action: Callable[[], object]) -> None:
        done, failed = threading.Event(), []

        def run() -> None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - raised in the caller's thread
                failed.append(error)
            done.set()

        self._loop.call_soon_threadsafe(run)
        if not done.wait(10):
            raise RuntimeError("the relay does not answer")
        for error in failed:
            raise error

    def _restore(self) -> None:
        if self._listener is None:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(200)
            listener.setblocking(False)
            self.port, self._listener = listener.getsockname()[1], listener
            self._accepting = self._loop.create_task(self._accept(listener))
        else:
            _take_packets(self._listener)
        for link in list(self._links):
            link.restore()

    def _refuse(self) -> None:
        if self._listener is not None and self._accepting is not None:
            self._accepting.cancel()
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = self._accepting = None

    def _end_all(self) -> None:
        for link in list(self._links):
            link.reset()

    async def _accept(self, listener: socket.socket) -> None:
        opening: set[asyncio.Task[None]] = set()
        while True:
            near, _ = await self._loop.sock_accept(listener)
            self.accepted += 1
            task = self._loop.create_task(self._open(near))
            opening.add(task)
            task.add_done_callback(opening.discard)

    async def _open(self, near: socket.socket) -> None:
        try:
            _, far_end = await self._loop.create_connection(_End, "127.0.0.1", self._target)
        except OSError:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_AT_CLOSE)
            near.close()
            return
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        near_end = _End()
        link = _Link(self, near, near_end, far_end)
        await self._loop.connect_accepted_socket(lambda: near_end, near)
        self._links.add(link)
        link.begin()

    def looks_for(self) -> tuple[bytes, bytes] | None:
        return self._lost_after

    def found(self) -> None:
        self._lost_after = None

    def left(self, link: "_Link") -> None:
        self._links.discard(link)


class _End(asyncio.Protocol):
    """One end of a connection. What comes before the link begins is kept."""

    def __init__(self) -> None:
        self._early = bytearray()
        self._link: _Link | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_FULL)

    def begin(self, link: "_Link") -> None:
        self._link = link
        if self._early:
            link.came(self, bytes(self._early))

    def data_received(self, data: bytes) -> None:
        if self._link is None:
            self._early += data
        else:
            self._link.came(self, data)

    def eof_received(self) -> bool:
        if self._link is not None:
            self._link.came(self, b"")
        return True

    def connection_lost(self, _: Exception | None) -> None:
        if self._link is not None:
            self._link.lost(self)

    def pause_writing(self) -> None:
        if self._link is not None:
            self._link.other(self).transport.pause_reading()

    def resume_writing(self) -> None:
        if self._link is not None:
            with suppress(RuntimeError):
                self._link.other(self).transport.resume_reading()


class _Link:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, relay: Relay, near: socket.socket, near_end: _End, far_end: _End) -> None:
        self._relay, self._near, self._far_end, self._near_end = relay, near, far_end, near_end
        self._held = self._forgotten = self._deaf = self._gone = False
        self._waiting: deque[tuple[_End, bytes]] = deque()  # what came while it was held
        self._late_until = 0.0
        self._sent = b""
        self._near_is_there, self._far_is_there = True, True

    def begin(self) -> None:
        self._held = self._relay.is_silent
        for end in (self._near_end, self._far_end):
            end.begin(self)

    def other(self, end: _End) -> _End:
        return self._far_end if end is self._near_end else self._near_end

    def came(self, end: _End, data: bytes) -> None:
        """Bytes, or none: that end sends nothing more."""
        if self._forgotten:
            if end is self._near_end:
                _reset(end)
        elif self._held:
            self._waiting.append((end, data))
        else:
            self._pass_on(end, data)

    def _pass_on(self, end: _End, data: bytes) -> None:
        if end is self._near_end:
            self._watch(data)
        elif self._deaf:
            self.close()
            return
        loop, pause = asyncio.get_running_loop(), self._relay.delay_seconds
        if pause or self._late_until > loop.time():
            self._late_until = max(loop.time() + pause, self._late_until + 1e-6)  # in the order in which it came
            loop.call_at(self._late_until, self._write, end, data)
        else:
            self._write(end, data)

    def _write(self, end: _End, data: bytes) -> None:
        transport = self.other(end).transport
        if data:
            transport.write(data)
        elif not transport.is_closing() and transport.can_write_eof():
            with suppress(OSError):
                transport.write_eof()
            if end is self._far_end:
                self.close()

    def _watch(self, data: bytes) -> None:
        if (looked_for := self._relay.looks_for()) is None:
            self._sent = b""
            return
        after, to = looked_for
        self._sent = (self._sent + data)[-_WATCHED:]
        if after in self._sent and to in self._sent.rpartition(after)[2]:
            self._relay.found()
            self._deaf = True

    def lost(self, end: _End) -> None:
        """That end is closed. The other one follows, unless it cannot know."""
        if end is self._near_end:
            self._near_is_there = False
        else:
            self._far_is_there = False
        if not (self._held or self._forgotten):
            self.other(end).transport.close()
        if not (self._near_is_there or self._far_is_there):
            self._relay.left(self)

    # What can be wrong

    def close(self) -> None:
        for end in (self._near_end, self._far_end):
            end.transport.close()

    def reset(self) -> None:
        self._held = False
        for end in (self._near_end, self._far_end):
            _reset(end)

    def hold(self) -> None:
        self._held = True

    def vanish(self, *, server: bool) -> None:
        if self._near_is_there:
            _drop_packets(self._near)
        if not server:
            self._gone = True
            self._far_end.transport.close()

    def forget(self) -> None:
        self._forgotten = True

    def restore(self) -> None:
        if self._forgotten or self._gone:
            self.reset()
        elif self._held:
            if self._near_is_there:
                _take_packets(self._near)
            self._held = False
            while self._waiting:
                self._pass_on(*self._waiting.popleft())
            if not self._near_is_there:
                self.close()


def _reset(end: _End) -> None:
    if not end.transport.is_closing():
        with suppress(OSError):
            end.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_AT_CLOSE)
        end.transport.abort()


def _drop_packets(of: socket.socket) -> None:
    with suppress(OSError):  # it is being closed
        of.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(_TAKE_NOTHING)))


def _take_packets(of: socket.socket) -> None:
    with suppress(OSError):  # it has none
        of.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


@contextmanager
def relayed(settings: Settings) -> Iterator[tuple[Relay, Settings]]:
    """The settings with a relay before the database."""
    url = make_url(settings.database_url.get_secret_value())
    with Relay(url.port or 5432) as relay:
        through = url.set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)
        yield relay, settings.model_copy(update={"database_url": SecretStr(through)})
