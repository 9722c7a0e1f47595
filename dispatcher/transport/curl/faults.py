"""Curl's error numbers as failures, in the same kinds as every transport has them."""

import errno
import re

import pycurl

from dispatcher.transport.exchange import Failure, FailureKind

_TLS_REASON = re.compile(r"SSL routines:[^:]*:([a-z0-9 /]{1,80})")
_VERIFY_REASONS = {  # X509_V_ERR_...: OpenSSL's words for them would come with names of the receiver
    9: "not yet valid",
    10: "has expired",
    18: "self-signed",
    19: "from an authority that is not trusted",
    20: "from an authority that is not trusted",
    21: "from an authority that is not trusted",
}
_OTHER_NAME = {0, 62}  # the chain was right: only the name is left (62: X509_V_ERR_HOSTNAME_MISMATCH)


def failure_of(handle: pycurl.Curl, code: int, message: str, *, received: bool) -> Failure:  # noqa: PLR0911 - a table
    """What curl's error `code` comes to; `received`: some bytes of an answer came.

    `message` is curl's and quotes hosts and more, so nothing of it but known words goes on.
    """
    system_error = handle.getinfo(pycurl.OS_ERRNO)
    match code:
        case pycurl.E_OPERATION_TIMEDOUT:
            if not handle.getinfo(pycurl.REQUEST_SIZE):  # nothing was sent yet
                return Failure(FailureKind.CONNECT_TIMEOUT, "no connection in the time to connect")
            return Failure(FailureKind.TIMEOUT, "no complete answer within the deadline")
        case pycurl.E_COULDNT_RESOLVE_HOST:
            return Failure(FailureKind.DNS, "name not resolved")
        case pycurl.E_COULDNT_CONNECT:
            return _not_connected(system_error)
        case pycurl.E_PEER_FAILED_VERIFICATION:
            return Failure(FailureKind.TLS, _certificate(handle.getinfo(pycurl.SSL_VERIFYRESULT)))
        case pycurl.E_SSL_CONNECT_ERROR | pycurl.E_SSL_CIPHER | pycurl.E_SSL_CACERT_BADFILE | pycurl.E_SSL_CERTPROBLEM:
            reason = _TLS_REASON.search(message)
            return Failure(FailureKind.TLS, f"TLS: {reason[1].strip() if reason else 'no handshake'}")
        case 100:  # CURLE_TOO_LARGE
            return Failure(FailureKind.HEADERS_TOO_LARGE, "a header line without end")
        case pycurl.E_GOT_NOTHING | pycurl.E_SEND_ERROR | pycurl.E_RECV_ERROR | 92:  # CURLE_HTTP2_STREAM
            if not received:
                return Failure(FailureKind.CONNECTION_RESET, "the connection was closed without an answer")
            if system_error:
                return Failure(FailureKind.CONNECTION_RESET, "the connection was lost before a complete answer")
            return Failure(FailureKind.BROKEN_ANSWER, "the answer does not end as announced")
        case pycurl.E_PARTIAL_FILE:
            return Failure(FailureKind.BROKEN_ANSWER, "the body does not end as announced")
        case _:
            return Failure(FailureKind.BROKEN_ANSWER, f"not a valid HTTP answer (curl error {code})")


def _not_connected(system_error: int) -> Failure:
    match system_error:
        case errno.ECONNREFUSED:
            return Failure(FailureKind.CONNECTION_REFUSED, "connection refused")
        case errno.ETIMEDOUT:
            return Failure(FailureKind.CONNECT_TIMEOUT, "no connection in the time to connect")
        case errno.ECONNRESET:
            return Failure(FailureKind.CONNECTION_RESET, "the connection was lost as soon as it was made")
        case _:
            why = errno.errorcode.get(system_error, "no address could be connected to")
            return Failure(FailureKind.UNREACHABLE, f"not reachable ({why})")


def _certificate(verify_result: int) -> str:
    if verify_result in _OTHER_NAME:
        return "certificate is for another host"
    return f"certificate refused: {_VERIFY_REASONS.get(verify_result, f'verification error {verify_result}')}"
