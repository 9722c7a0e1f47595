"""One request on one of curl's easy handles: set up, its answer collected within the limits and made an outcome."""

import logging
import socket
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pycurl

from dispatcher.transport.bodies import decode_body
from dispatcher.transport.checks import split_url
from dispatcher.transport.curl.connections import Ends
from dispatcher.transport.curl.dns_cache import Resolved
from dispatcher.transport.curl.faults import failure_of
from dispatcher.transport.curl.handles import HandleOptions, header_lines, new_handle, sends_body
from dispatcher.transport.exchange import Exchange, Failure, Reply, Request
from dispatcher.transport.failure_texts import (
    BAD_LENGTH,
    CLOSED_WITHOUT_ANSWER,
    HEAD_NOT_ENDED,
    HTTP2_LOST,
    INTERIM_ONLY,
    KEPT_CLOSED,
    OVER_BUDGET,
    TOO_LATE,
    unexpected,
)
from dispatcher.transport.heads import Head
from dispatcher.transport.port import ANSWER_PIECES, BODY_CAP, INTERIM_ANSWERS

_log = logging.getLogger("dispatcher.transport.curl_transfers")
_LONGEST_LENGTH = 15  # digits
_NO_ENDS = "", 0, "", 0
_SMALL = 256 * 1024  # bytes of a body whose rest may come on its connection
_LARGE = 16 * 1024  # bytes; an idle handle does not keep a larger body


class Transfer:
    """An easy handle for requests of one method, used for one after another."""

    def __init__(self, method: str, has_body: bool, options: HandleOptions) -> None:
        self.handle = handle = new_handle(method, has_body, options)
        self.pool = method, has_body  # what it can be used for again
        self._sends_body = sends_body(method, has_body)
        self._guard, self._kept, self._long_reads = options.guard, options.kept, options.long_reads
        self._connect_timeout = 0.0
        self.deadline = 0.0  # monotonic
        self._entry = ""
        self.ends: Ends = _NO_ENDS  # of the connection that was used last
        self._fresh = self._alone = False  # told to open a new connection, and to close it
        handle.setopt(pycurl.HEADERFUNCTION, self._take_line)
        handle.setopt(pycurl.WRITEFUNCTION, self._take_body)
        handle.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        handle.setopt(pycurl.PREREQFUNCTION, self._take_connection)

    def begin(self, request: Request, resolved: Resolved, begun_at: float, now: float) -> None:
        """Sets up for a request, whose name leads to `resolved`. Its times count from `begun_at`, when its DNS lookup
        began (both monotonic)."""
        handle, spent = self.handle, now - begun_at
        self.request, self.begun_at, self.address = request, begun_at, resolved.address
        self._started_at = datetime.now(UTC) - timedelta(seconds=spent) if spent else datetime.now(UTC)
        self._looked_up = spent > 0
        self._head = Head()
        self.ends = _NO_ENDS
        self._interim = self._body_size = self._pieces = 0
        self._complete = self._opened = self._given = self._avoided = False
        self._refusal: Failure | None = None
        self._body: list[bytes] = []
        self._fault: Failure | None = None
        self._origin = split_url(request.url).origin
        alone = self._kept.one_request_each(self._origin, now)
        self._set_fresh(alone or request.anew)
        if alone != self._alone:
            handle.setopt(pycurl.FORBID_REUSE, int(alone))
            self._alone = alone
        handle.setopt(pycurl.URL, request.url)
        handle.setopt(pycurl.HTTPHEADER, header_lines(request.headers))
        if self._sends_body:
            handle.setopt(pycurl.POSTFIELDS, request.body or b"")
        if resolved.entry or self._entry:  # set each time: curl forgets it after a minute
            handle.setopt(pycurl.RESOLVE, [resolved.entry] if resolved.entry else [])
            self._entry = resolved.entry
        # The total deadline is not left to curl, which would look at the clock before it looks at what has come.
        connect_timeout = min(request.connect_timeout, request.timeout) - spent
        if connect_timeout != self._connect_timeout:
            handle.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(connect_timeout * 1000)))
            self._connect_timeout = connect_timeout
        self.deadline = begun_at + request.timeout

    def _set_fresh(self, fresh: bool) -> None:
        if fresh != self._fresh:
            self.handle.setopt(pycurl.FRESH_CONNECT, int(fresh))
            self._fresh = fresh

    def may_be_sent_again(self) -> bool:
        """Whether curl gave up after it had tried only connections that had ended before, so that nothing was sent. If
        so, the next try opens a new connection."""
        if not self._avoided or self._given or self._opened or self._fault is not None:
            return False
        self._avoided = False
        self._set_fresh(True)
        return True

    def cut(self) -> None:
        """More came for it than any answer may have."""
        self._fault = self._fault or OVER_BUDGET

    @property
    def leaves_rest(self) -> bool:
        """Whether its body was cut on a connection that stays open, and much more of it may come."""
        if not self._complete or self._head.minor is not None:
            return False
        length = next((value for name, value in self._head.pairs if name.lower() == "content-length"), "")
        return not length.isdecimal() or len(length) > _LONGEST_LENGTH or int(length) > _SMALL

    def end(self, code: int, message: str, now: float) -> Exchange:
        """The exchange, by curl's error number (0: none) and text. Releases everything that belongs to the request."""
        request = self.request
        exchange = Exchange(
            request,
            self._outcome(code, message),
            self._started_at,
            timedelta(seconds=now - self.begun_at),
            self._looked_up,
            self._opened,
        )
        if self._head.status:
            self._kept.used(self.ends, self._origin, now, http2=self._head.minor is None)
        elif exchange.outcome is KEPT_CLOSED:
            self._kept.lost(self.ends, now)
        self._head, self._body = Head(), []
        del self.request
        if request.body is not None and len(request.body) > _LARGE:
            self.handle.setopt(pycurl.POSTFIELDS, b"")
        return exchange

    def _outcome(self, code: int, message: str) -> Reply | Failure:
        if self._fault is not None:
            return self._fault
        if not code or self._complete:
            return self._reply()
        if self._refusal is not None and not self._opened:
            return self._refusal  # none of its addresses was tried
        if code == pycurl.E_BAD_CONTENT_ENCODING and self._head.status >= 200:
            # A transfer coding that no request asks for: curl stops at its header, but the status decides.
            return Reply(self._head.status, tuple(self._head.pairs), b"", body_unreadable=True)
        received = bool(self._head.status or self._interim)
        failure = failure_of(self.handle, code, message, received=received, head_ended=self._head.ended)
        is_lost = failure in {CLOSED_WITHOUT_ANSWER, HTTP2_LOST} and not received and self._given
        return KEPT_CLOSED if is_lost and not self._opened else failure

    def _reply(self) -> Reply | Failure:
        if not self._head.ended:
            return HEAD_NOT_ENDED
        status, pairs = self._head.status, tuple(self._head.pairs)
        if not self._body:
            return Reply(status, pairs, b"")
        if any(len(value) > _LONGEST_LENGTH for name, value in pairs if name.lower() == "content-length"):
            return BAD_LENGTH  # which curl would ignore
        body = decode_body(b"".join(self._body)[: BODY_CAP + 1], pairs, cut=self._complete)
        return Reply(status, pairs, body.content, body.cut, body.unreadable)

    # ---- called by curl: an exception would only be printed to stderr, so none may escape

    def _take_line(self, line: bytes) -> int | None:
        try:
            self._pieces += 1
            if self._pieces > ANSWER_PIECES:
                return self._end_with(OVER_BUDGET)
            if self._head.ended:
                return None  # a trailer
            fault = self._head.take(line)
            if fault is not None:
                return self._end_with(fault)
            return self._end_head() if self._head.ended else None
        except Exception as surprise:  # noqa: BLE001 - the request must be returned even so
            return self._surprised(surprise)

    def _end_head(self) -> int | None:
        if self._head.status >= 200:
            return None
        if self._head.status == 101:  # final for us; curl would wait for another one
            self._complete = True
            return 0
        self._interim += 1
        self._head = Head()
        if self._interim > INTERIM_ANSWERS:
            return self._end_with(INTERIM_ONLY)
        return None

    def _take_body(self, data: bytes) -> int | None:
        self._body.append(data)
        self._body_size += len(data)
        self._pieces += 1
        if self._body_size > BODY_CAP or self._pieces > ANSWER_PIECES:
            self._complete = True  # enough of it: the status decides
            return 0
        return None

    def _open_socket(self, _purpose: int, address: Any) -> "socket.socket | int":
        try:
            if self._is_sent():
                return int(pycurl.SOCKET_BAD)
            to, port, *_ = address.addr
            refusal = self._guard.refuse_address(split_url(self.request.url).origin.host, to, port)
            if refusal is None:
                opened = _OpenedSocket(address.family, address.socktype, address.protocol)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._long_reads.buffer(to))
                self._opened = True
                return opened
            self._refusal = refusal
        except Exception as surprise:  # noqa: BLE001
            self._surprised(surprise)
        return int(pycurl.SOCKET_BAD)

    def _take_connection(self, remote: str, local: str, remote_port: int, port: int) -> int:
        """Curl is about to send the request. To connections that have ended it may be given any number of times."""
        if self._is_sent():
            return int(pycurl.PREREQFUNC_ABORT)
        if monotonic() >= self.begun_at + self.request.timeout:  # whatever a standstill has added to `deadline`
            self._fault = TOO_LATE
            return int(pycurl.PREREQFUNC_ABORT)
        self.ends = local, port, remote, remote_port
        if self._opened:
            self._kept.opened(self.ends)
        self._given = not self._kept.has_ended(self.ends)
        self._avoided = self._avoided or not self._given
        return int(pycurl.PREREQFUNC_OK)

    def _is_sent(self) -> bool:
        """Whether curl wants to send it a second time, because a connection that was used before died without an
        answer. That is not for curl to decide: the receiver may have taken the request all the same."""
        if self._given:
            self._fault = CLOSED_WITHOUT_ANSWER if self._opened else KEPT_CLOSED
        return self._given

    def _end_with(self, fault: Failure) -> int:
        self._fault = fault
        return 0  # fewer bytes than were given: curl ends the transfer

    def _surprised(self, surprise: Exception) -> int:
        _log.error("request %s ended in an unexpected %s", self.request.id, type(surprise).__name__)
        return self._end_with(unexpected(surprise))


class _OpenedSocket(socket.socket):
    """Closes itself: curl works with a duplicate of its descriptor."""

    def __del__(self) -> None:
        self.close()
