"""A transport adapter for `requests` over `http.client`: lean, bounded, with one deadline for the whole exchange."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ssl import SSLError
from time import monotonic
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from dispatcher.transport.address_slots import AddressSlots
from dispatcher.transport.bodies import decode_body
from dispatcher.transport.checks import Origin, split_url
from dispatcher.transport.deadlines import Deadlines
from dispatcher.transport.failure_texts import (
    ADDRESS_FULL,
    CLOSED_WITHOUT_ANSWER,
    KEPT_CLOSED,
    LOST,
    NO_ANSWER_IN_TIME,
    TOO_LATE,
    tls_failed,
)
from dispatcher.transport.threaded.answers import Answer, is_refusal
from dispatcher.transport.threaded.connections import Connection, IdleConnections
from dispatcher.transport.threaded.faults import NoAnswer
from dispatcher.transport.threaded.opening import Opener


class AccountRequest(requests.PreparedRequest):
    """A prepared request, and the account that it is for. Sending it notes what was done anew."""

    account = ""
    anew = False
    looked_up = connected = False
    found: Callable[[str], None]  # called with the address that its host leads to


class BoundedResponse(requests.Response):
    """A response whose body is already read, up to the cap; `pairs` are its headers as they were received."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        raw = answer.read_body()
        body = decode_body(raw, answer.pairs, transfer_coded=answer.transfer_coded, cut=answer.cut_short)
        self.status_code = answer.status
        self.pairs = answer.pairs
        self.headers = CaseInsensitiveDict(answer.pairs)
        self.body_cut, self.body_unreadable = body.cut, body.unreadable
        self._content, self._content_consumed = body.content, True


class DirectAdapter(BaseAdapter):
    """Sends prepared requests as they are, over kept-alive connections that all threads share.

    Redirects, cookies, environment proxies and `.netrc` belong to a `requests.Session`; without one there are none.
    At most `per_address` requests are in flight to one address. Idle connections: at most `idle_limit`, none older than
    `idle_age` seconds.
    """

    def __init__(self, opener: Opener, *, per_address: int, idle_limit: int, idle_age: float) -> None:
        super().__init__()
        self.slots, self._slots_lock = AddressSlots(per_address), threading.Lock()
        self._opener = opener
        self._idle = IdleConnections(idle_limit, idle_age)
        self._busy: set[Connection] = set()

    def send(  # noqa: PLR0917 - the signature of `requests`
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> BoundedResponse:
        """The answer to a request, its body read.

        The request is an AccountRequest, `timeout` its Deadlines. The other parameters are those of `requests` and have
        no effect: certificates are always verified. Raises NoAnswer.
        """
        del stream, verify, cert, proxies
        assert isinstance(request, AccountRequest)
        assert isinstance(timeout, Deadlines)
        target = split_url(request.url or "")
        data = _wire_form(request, target.path, target.host_header)
        response = self._answer_to(request, data, target.origin, timeout)
        response.request, response.url = request, request.url or ""
        return response

    def close(self) -> None:
        """Closes the idle connections and cuts the busy ones."""
        self._idle.close()
        for connection in list(self._busy):
            connection.cut()

    def _answer_to(self, request: AccountRequest, data: bytes, origin: Origin, deadlines: Deadlines) -> BoundedResponse:
        method = request.method or "GET"
        kept = None if request.anew else self._idle.take(origin)
        if kept is not None:
            try:
                with self._slot(request, kept.address):
                    return self._exchange(kept, method, data, deadlines.total)
            except NoAnswer as fault:
                if fault.failure is ADDRESS_FULL:
                    self._idle.keep(kept)
                if fault.failure is not CLOSED_WITHOUT_ANSWER:
                    raise
                self._idle.lost(origin)
                if kept.sent:  # the receiver may have taken the request, so it is not sent again
                    raise NoAnswer(KEPT_CLOSED) from None
        found = self._opener.resolve(origin, request.account, deadlines)
        request.looked_up = True
        addresses = self._opener.allowed(origin, found)
        address = str(addresses[0][1][0])
        with self._slot(request, address):
            request.connected = True
            opened = self._opener.open(origin, addresses, deadlines)
            return self._exchange(Connection(*opened, origin, address), method, data, deadlines.total)

    @contextmanager
    def _slot(self, request: AccountRequest, address: str) -> Iterator[None]:
        """Holds a slot of the address while the request is in flight; raises NoAnswer if there is none."""
        request.found(address)
        with self._slots_lock:
            taken = self.slots.take(address, request.account)
        if not taken:
            raise NoAnswer(ADDRESS_FULL)
        try:
            yield
        finally:
            with self._slots_lock:
                self.slots.end(address, request.account)

    def _exchange(self, connection: Connection, method: str, data: bytes, deadline: float) -> BoundedResponse:
        reusable = False
        self._busy.add(connection)
        try:
            connection.begin(deadline)
            if monotonic() >= deadline:
                raise NoAnswer(TOO_LATE)
            # A receiver that hung up early may still have answered; reading shows whether it has.
            sent = connection.write(data, is_refusal)
            answer = Answer(connection, method)
            answer.begin()
            response = BoundedResponse(answer)
            reusable = sent and answer.leaves_connection_usable
        except NoAnswer:
            raise  # an OSError too, like every exception of `requests`
        except TimeoutError:
            raise NoAnswer(NO_ANSWER_IN_TIME) from None
        except SSLError as error:
            raise NoAnswer(tls_failed(error.reason or "failed")) from None
        except OSError:
            raise NoAnswer(LOST if connection.received else CLOSED_WITHOUT_ANSWER) from None
        finally:
            self._busy.discard(connection)
            if reusable:
                self._idle.keep(connection)
            else:
                connection.hang_up()
        return response


def _wire_form(request: requests.PreparedRequest, path: str, host: str) -> bytes:
    """The bytes of a request, head and body in one piece: one packet, one system call."""
    lines = [f"{request.method} {path} HTTP/1.1\r\nHost: {host}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in request.headers.items()]
    body = request.body or b""
    assert isinstance(body, bytes)
    if request.body is not None or request.method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(body)}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1") + body
