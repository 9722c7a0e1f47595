"""A transport adapter for `requests` over `http.client`: lean, bounded, with one deadline for the whole exchange."""

from collections.abc import Mapping
from ssl import SSLError
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from dispatcher.transport.bodies import decode_body
from dispatcher.transport.checks import Origin, split_url
from dispatcher.transport.deadlines import Deadlines
from dispatcher.transport.exchange import FailureKind
from dispatcher.transport.failure_texts import CLOSED_WITHOUT_ANSWER, LOST, NO_ANSWER_IN_TIME, tls_failed
from dispatcher.transport.threaded.answers import Answer, is_refusal
from dispatcher.transport.threaded.connections import Connection, IdleConnections
from dispatcher.transport.threaded.faults import NoAnswer
from dispatcher.transport.threaded.opening import Opener


class AccountRequest(requests.PreparedRequest):
    """A prepared request, and the account that it is for."""

    account = ""


class BoundedResponse(requests.Response):
    """A response whose body is already read, up to the cap; `pairs` are its headers as they were received."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        raw = answer.read_body()
        body = decode_body(raw, answer.pairs, transfer_coded=answer.transfer_coded)
        self.status_code = answer.status
        self.pairs = answer.pairs
        self.headers = CaseInsensitiveDict(answer.pairs)
        self.body_cut, self.body_unreadable = body.cut, body.unreadable
        self._content, self._content_consumed = body.content, True


class DirectAdapter(BaseAdapter):
    """Sends prepared requests as they are, over kept-alive connections that all threads share.

    Redirects, cookies, environment proxies and `.netrc` belong to a `requests.Session`; without one there are none.
    Idle connections: at most `idle_limit`, none older than `idle_age` seconds.
    """

    def __init__(self, opener: Opener, *, idle_limit: int, idle_age: float) -> None:
        super().__init__()
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
        method = request.method or "GET"
        data = _wire_form(request, method, target.path, target.host_header)
        response = self._answer_to(data, method, target.origin, request.account, timeout)
        response.request, response.url = request, request.url or ""
        return response

    def close(self) -> None:
        """Closes the idle connections and cuts the busy ones."""
        self._idle.close()
        for connection in list(self._busy):
            connection.cut()

    def _answer_to(
        self, data: bytes, method: str, origin: Origin, account: str, deadlines: Deadlines
    ) -> BoundedResponse:
        kept = self._idle.take(origin)
        if kept is not None:
            try:
                return self._exchange(kept, method, data, deadlines.total)
            except NoAnswer as fault:
                # Closed by the receiver while it was idle, and noticed only now: not the fault of this request.
                if fault.failure.kind is not FailureKind.CONNECTION_RESET or kept.received:
                    raise
                deadlines.connect_anew()
        opened = self._opener.open(origin, account, deadlines)
        return self._exchange(Connection(opened, origin), method, data, deadlines.total)

    def _exchange(self, connection: Connection, method: str, data: bytes, deadline: float) -> BoundedResponse:
        reusable = False
        self._busy.add(connection)
        try:
            connection.begin(deadline)
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


def _wire_form(request: requests.PreparedRequest, method: str, path: str, host: str) -> bytes:
    """The bytes of a request, head and body in one piece: one packet, one system call."""
    lines = [f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in request.headers.items()]
    body = request.body or b""
    assert isinstance(body, bytes)
    if request.body is not None or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(body)}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1") + body
