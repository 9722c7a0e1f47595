"""Curl's error numbers as failures, in the kinds that all transports use."""

import re

import pycurl

from dispatcher.transport.exchange import Failure, FailureKind
from dispatcher.transport.failure_texts import (
    BAD_LENGTH,
    BODY_NOT_ENDED,
    CLOSED_WITHOUT_ANSWER,
    HEAD_NOT_ENDED,
    HEAD_TOO_LARGE,
    HTTP2_LOST,
    LOST,
    LOST_IN_HANDSHAKE,
    NO_ANSWER_IN_TIME,
    NO_HEADER,
    NO_TLS_IN_TIME,
    NOT_HTTP,
    NOT_IN_TIME,
    OTHER_HOST,
    STRAY_BYTE,
    certificate_refused,
    not_connected,
    tls_failed,
)

_TLS_REASON = re.compile(r"SSL routines:[^:]*:([a-z0-9 /]{1,80})")
# Curl checks the name itself, after the chain, and has no number for it: none, or the one for an unspecified reason.
_OTHER_NAME = {0, 1}
_END_OF_STREAM = "unexpected eof while reading"
_HEAD_REASONS = {
    "HTTP/0.9": NOT_HTTP,
    "Content-Length": BAD_LENGTH,
    "without colon": NO_HEADER,
    "NUL byte": STRAY_BYTE,
    "Carriage return": STRAY_BYTE,
}  # curl's words


def failure_of(  # noqa: PLR0911 - a table
    handle: pycurl.Curl, code: int, message: str, *, received: bool, head_ended: bool
) -> Failure:
    """The failure for curl's error `code`. `received`: some of an answer came; `head_ended`: its head was complete.

    `message` is curl's and quotes hosts and more, so only known words of it are used.
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
            result = handle.getinfo(pycurl.SSL_VERIFYRESULT)
            return OTHER_HOST if result in _OTHER_NAME else certificate_refused(result)
        case pycurl.E_SSL_CONNECT_ERROR | pycurl.E_SSL_CIPHER | pycurl.E_SSL_CACERT_BADFILE | pycurl.E_SSL_CERTPROBLEM:
            reason = _TLS_REASON.search(message)
            return tls_failed(reason[1]) if reason else LOST_IN_HANDSHAKE
        case 100:  # CURLE_TOO_LARGE
            return HEAD_TOO_LARGE
        case pycurl.E_GOT_NOTHING | pycurl.E_SEND_ERROR | pycurl.E_RECV_ERROR | 92:  # CURLE_HTTP2_STREAM
            return _broken_off(message, system_error, received=received, head_ended=head_ended)
        case 16:  # CURLE_HTTP2: what came is not valid, or the session could not go on
            return HTTP2_LOST
        case pycurl.E_PARTIAL_FILE:
            return BODY_NOT_ENDED
        case _:
            other = Failure(FailureKind.BROKEN_ANSWER, f"not a valid HTTP answer (curl error {code})")
            return next((failure for words, failure in _HEAD_REASONS.items() if words in message), other)


def _broken_off(message: str, system_error: int, *, received: bool, head_ended: bool) -> Failure:
    reason = _TLS_REASON.search(message)
    if reason and reason[1] != _END_OF_STREAM:  # with TLS 1.3 a receiver may refuse a handshake after it
        return tls_failed(reason[1])
    if not received:
        return CLOSED_WITHOUT_ANSWER
    if system_error:
        return LOST
    return BODY_NOT_ENDED if head_ended else HEAD_NOT_ENDED
