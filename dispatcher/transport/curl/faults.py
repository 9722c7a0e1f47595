"""Curl's error numbers as failures, in the same kinds as every transport has them."""

import re

import pycurl

from dispatcher.transport.exchange import Failure, FailureKind
from dispatcher.transport.failure_texts import (
    BAD_LENGTH,
    BODY_NOT_ENDED,
    CLOSED_WITHOUT_ANSWER,
    HEAD_NOT_ENDED,
    HEAD_TOO_LARGE,
    LOST,
    LOST_IN_HANDSHAKE,
    NO_ANSWER_IN_TIME,
    NO_HEADER,
    NO_TLS_IN_TIME,
    NOT_HTTP,
    NOT_IN_TIME,
    not_connected,
)

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
_HEAD_REASONS = {"HTTP/0.9": NOT_HTTP, "Content-Length": BAD_LENGTH, "without colon": NO_HEADER}  # curl's words


def failure_of(  # noqa: PLR0911 - a table
    handle: pycurl.Curl, code: int, message: str, *, received: bool, head_ended: bool
) -> Failure:
    """What curl's error `code` comes to; `received`: some bytes of an answer came, `head_ended`: its head came whole.

    `message` is curl's and quotes hosts and more, so nothing of it but known words goes on.
    """
    system_error = handle.getinfo(pycurl.OS_ERRNO)
    match code:
        case pycurl.E_OPERATION_TIMEDOUT:
            if not handle.getinfo(pycurl.REQUEST_SIZE):  # nothing was sent yet
                return NO_TLS_IN_TIME if handle.getinfo(pycurl.CONNECT_TIME) else NOT_IN_TIME
            return NO_ANSWER_IN_TIME
        case pycurl.E_COULDNT_RESOLVE_HOST:
            return Failure(FailureKind.DNS, "name not resolved")
        case pycurl.E_COULDNT_CONNECT:
            return not_connected(system_error)
        case pycurl.E_PEER_FAILED_VERIFICATION:
            return Failure(FailureKind.TLS, _certificate(handle.getinfo(pycurl.SSL_VERIFYRESULT)))
        case pycurl.E_SSL_CONNECT_ERROR | pycurl.E_SSL_CIPHER | pycurl.E_SSL_CACERT_BADFILE | pycurl.E_SSL_CERTPROBLEM:
            reason = _TLS_REASON.search(message)
            return Failure(FailureKind.TLS, f"TLS: {reason[1].strip()}") if reason else LOST_IN_HANDSHAKE
        case 100:  # CURLE_TOO_LARGE
            return HEAD_TOO_LARGE
        case pycurl.E_GOT_NOTHING | pycurl.E_SEND_ERROR | pycurl.E_RECV_ERROR | 92:  # CURLE_HTTP2_STREAM
            if not received:
                return CLOSED_WITHOUT_ANSWER
            if system_error:
                return LOST
            return BODY_NOT_ENDED if head_ended else HEAD_NOT_ENDED
        case pycurl.E_PARTIAL_FILE:
            return BODY_NOT_ENDED
        case _:
            other = Failure(FailureKind.BROKEN_ANSWER, f"not a valid HTTP answer (curl error {code})")
            return next((failure for words, failure in _HEAD_REASONS.items() if words in message), other)


def _certificate(verify_result: int) -> str:
    if verify_result in _OTHER_NAME:
        return "certificate is for another host"
    return f"certificate refused: {_VERIFY_REASONS.get(verify_result, f'verification error {verify_result}')}"
