"""One request on one of curl's easy handles: set up, its answer collected within the bounds, read as an outcome."""

import logging
import re
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import certifi
import pycurl

from workers.replies import Exchange, Failure, FailureKind, Reply, Request
from workers.transport import BODY_CAP, HEAD_CAP, HEAD_LINES, INTERIM_ANSWERS, AddressGuard
from workers.transport.bodies import decode_body
from workers.transport.curl_faults import failure_of

_log = logging.getLogger(__name__)
_STATUS_LINE = re.compile(rb"HTTP/(?:1\.[0-9]|2) +([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_BLANK = (b"\r\n", b"\n")
_LARGE = 16 * 1024  # bytes of a body that an idle handle does not hold on to


@dataclass(frozen=True, slots=True)
class HandleOptions:
    """What all handles of a transport have in common. `trusted` is a file or a folder of certificates, `idle_age`
    seconds that a kept-alive connection may wait."""

    trusted: Path
    idle_age: float
    guard: AddressGuard | None


def trusted_authorities(ca_bundle: Path | None) -> Path:
    """The file `ca_bundle`, else the system's file or folder of certificates, else certifi's file."""
    system = ssl.get_default_verify_paths()
    if ca_bundle is not None:
        return ca_bundle
    if system.cafile:
        return Path(system.cafile)
    if system.capath and any(Path(system.capath).iterdir()):  # a slim container image has an empty one
        return Path(system.capath)
    return Path(certifi.where())


class Transfer:
    """An easy handle for requests of one method, used for one after another.

    What is alike for all of them is set once: each option costs as much as a Python call.
    """

    def __init__(self, method: str, has_body: bool, options: HandleOptions) -> None:
        self.handle = handle = pycurl.Curl()
        self.pool = method, has_body  # what it can be used for again
        self._sends_body = has_body or method in {"POST", "PUT", "PATCH"}
        self._guard = options.guard
        self._times = 0.0, 0.0
        self._entry = ""
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        handle.setopt(pycurl.PROXY, "")  # or one would be taken from the environment
        handle.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
        handle.setopt(pycurl.FOLLOWLOCATION, 0)
        handle.setopt(pycurl.PATH_AS_IS, 1)
        handle.setopt(pycurl.HTTP09_ALLOWED, 0)
        handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        handle.setopt(pycurl.HTTP_CONTENT_DECODING, 0)  # done by us: what is badly encoded is an answer all the same
        handle.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        trusted = options.trusted
        if trusted.is_dir():
            handle.unsetopt(pycurl.CAINFO)
            handle.setopt(pycurl.CAPATH, str(trusted))
        else:
            handle.setopt(pycurl.CAINFO, str(trusted))
        handle.setopt(pycurl.MAXAGE_CONN, max(1, round(options.idle_age)))
        handle.setopt(pycurl.USERAGENT, "")
        if self._sends_body:
            handle.setopt(pycurl.POST, 1)
        if method == "HEAD" and not self._sends_body:
            handle.setopt(pycurl.NOBODY, 1)
        elif method != ("POST" if self._sends_body else "GET"):
            handle.setopt(pycurl.CUSTOMREQUEST, method)
        handle.setopt(pycurl.HEADERFUNCTION, self._take_line)
        handle.setopt(pycurl.WRITEFUNCTION, self._take_body)
        if options.guard is not None:
            handle.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)

    def begin(self, request: Request, entry: str, begun_at: float, now: float) -> None:
        """Sets up for a request. `entry` tells the addresses of its name (see `Names`); its times count from
        `begun_at`, when its look-up began (both monotonic)."""
        handle, spent = self.handle, now - begun_at
        self.request, self.begun_at = request, begun_at
        self._started_at = datetime.now(UTC) - timedelta(seconds=spent) if spent else datetime.now(UTC)
        self._lines: list[bytes] = []
        self._status = self._head_size = self._interim = self._body_size = 0
        self._head_ended = self._complete = self._refused = False
        self._body: list[bytes] = []
        self._fault: Failure | None = None
        handle.setopt(pycurl.URL, request.url)
        handle.setopt(pycurl.HTTPHEADER, _header_lines(request.headers))
        if self._sends_body:
            handle.setopt(pycurl.POSTFIELDS, request.body or b"")
        if entry != self._entry:
            handle.setopt(pycurl.RESOLVE, [entry] if entry else [])
            self._entry = entry
        times = request.connect_timeout - spent, request.timeout - spent
        if times != self._times:
            handle.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(times[0] * 1000)))
            handle.setopt(pycurl.TIMEOUT_MS, max(1, int(times[1] * 1000)))
            self._times = times

    def end(self, code: int, message: str, now: float) -> Exchange:
        """What came of it, by curl's error number (0: none) and text. Lets go of all that belongs to the request."""
        request = self.request
        exchange = Exchange(
            request, self._outcome(code, message), self._started_at, timedelta(seconds=now - self.begun_at)
        )
        self._lines, self._body = [], []
        if request.body is not None and len(request.body) > _LARGE:
            self.handle.setopt(pycurl.POSTFIELDS, b"")
        return exchange

    def _outcome(self, code: int, message: str) -> Reply | Failure:
        if self._fault is not None:
            return self._fault
        if code == pycurl.E_COULDNT_CONNECT and self._refused:
            return Failure(FailureKind.UNREACHABLE, "an address that may not be used")
        if code and not self._complete:
            return failure_of(self.handle, code, message, received=bool(self._lines or self._interim))
        if not (self._head_ended or self._complete):
            return Failure(FailureKind.BROKEN_ANSWER, "the connection was closed in the headers")
        try:
            pairs = tuple(_pairs(self._lines))
        except ValueError:
            return Failure(FailureKind.BROKEN_ANSWER, "a header line that is none")
        codings = [value.strip().lower() for name, value in pairs if name.lower() == "transfer-encoding"]
        raw = b"".join(self._body)[: BODY_CAP + 1]
        body = decode_body(raw, pairs, transfer_coded=bool(codings) and codings != ["chunked"])
        return Reply(self._status, pairs, body.content, body.cut, body.unreadable)

    # ---- called by curl: an exception would end in a word on stderr, so none gets out

    def _take_line(self, line: bytes) -> int | None:
        try:
            return self._read_line(line)
        except Exception as surprise:  # noqa: BLE001 - the request comes back; a text could hold what it must not
            return self._surprised(surprise)

    def _read_line(self, line: bytes) -> int | None:
        if self._head_ended:
            return None  # a trailer
        lines = self._lines
        if not lines:
            match = _STATUS_LINE.fullmatch(line)
            if match is None:
                return self._end_with(FailureKind.BROKEN_ANSWER, "not an HTTP answer")
            self._status = int(match[1])
        lines.append(line)
        self._head_size += len(line)
        if line in _BLANK:
            if self._status >= 200:
                self._head_ended = True
            elif self._status == 101:  # final for us; curl would wait for another one
                self._complete = True
                return 0
            else:
                self._interim += 1
                self._lines, self._head_size = [], 0
                if self._interim > INTERIM_ANSWERS:
                    return self._end_with(FailureKind.BROKEN_ANSWER, "interim answers without end")
        elif self._head_size > HEAD_CAP or len(lines) > HEAD_LINES:
            text = f"headers over {HEAD_CAP} bytes or {HEAD_LINES} lines"
            return self._end_with(FailureKind.HEADERS_TOO_LARGE, text)
        return None

    def _take_body(self, data: bytes) -> int | None:
        self._body.append(data)
        self._body_size += len(data)
        if self._body_size > BODY_CAP:
            self._complete = True  # enough of it: the status decides
            return 0
        return None

    def _open_socket(self, _purpose: int, address: Any) -> "socket.socket | int":
        try:
            assert self._guard is not None
            if self._guard(address.addr[0]):
                return _OpenedSocket(address.family, address.socktype, address.protocol)
            self._refused = True  # to be told apart from a refusal by the receiver
        except Exception as surprise:  # noqa: BLE001
            self._surprised(surprise)
        return int(pycurl.SOCKET_BAD)

    def _end_with(self, kind: FailureKind, detail: str) -> int:
        self._fault = Failure(kind, detail)
        return 0  # fewer bytes than were given: curl ends the transfer

    def _surprised(self, surprise: Exception) -> int:
        name = type(surprise).__name__
        _log.error("request %s met an unexpected %s", self.request.id, name)
        return self._end_with(FailureKind.BROKEN_ANSWER, f"unexpected {name}")


class _OpenedSocket(socket.socket):
    """Closes itself: curl works with a duplicate of its descriptor."""

    def __del__(self) -> None:
        self.close()


def _header_lines(headers: Iterable[tuple[str, str]]) -> list[bytes]:
    # A blank value is written with a semicolon; a name with nothing behind its colon keeps curl's own header away.
    lines = [(f"{name}: {value}" if value.strip() else f"{name};").encode("latin-1") for name, value in headers]
    names = {name.lower() for name, _ in headers}
    lines += [b"Expect:"] + [line for name, line in _NOT_OURS if name not in names]
    return lines


_NOT_OURS = ("accept", b"Accept:"), ("content-type", b"Content-Type:")


def _pairs(lines: list[bytes]) -> list[tuple[str, str]]:
    """The headers of a head, blank line and status line around them. ValueError for a line that is no header."""
    pairs: list[tuple[str, str]] = []
    for line in lines[1:-1]:
        text = line.decode("latin-1")
        name, colon, value = text.partition(":")
        if text[0] in " \t" and pairs:  # folded over lines: obsolete, but allowed
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]} {text.strip()}".strip())
        elif not colon or not name.strip():
            raise ValueError("no header")
        else:
            pairs.append((name.strip(), value.strip()))
    return pairs
