"""Pure. Faults as failures, one text for each, whichever transport met it: they are shown to customers.

None quotes anything of the receiver's, and none tells more than is known: where two causes look alike, both are named.
"""

import errno
import re

from dispatcher.transport.exchange import Failure, FailureKind
from dispatcher.transport.port import HEAD_CAP, HEAD_LINES

NO_ADDRESS = Failure(FailureKind.DNS, "the name has no address")
NO_TURN = Failure(FailureKind.NOT_SENT, "too many names are looked up here at once")

NOT_IN_TIME = Failure(FailureKind.CONNECT_TIMEOUT, "no connection in the time to connect")
NO_TLS_IN_TIME = Failure(FailureKind.CONNECT_TIMEOUT, "no TLS handshake in the time to connect")
LOST_IN_HANDSHAKE = Failure(FailureKind.TLS, "TLS: connection lost in the handshake")

OTHER_HOST = Failure(FailureKind.TLS, "certificate is for another host")

NO_ANSWER_IN_TIME = Failure(FailureKind.TIMEOUT, "no complete answer within the deadline")
CLOSED_WITHOUT_ANSWER = Failure(FailureKind.CONNECTION_RESET, "the connection was closed without an answer")
LOST = Failure(FailureKind.CONNECTION_RESET, "the connection was lost before a complete answer")

NOT_HTTP = Failure(FailureKind.BROKEN_ANSWER, "not an HTTP answer")
STRAY_BYTE = Failure(FailureKind.BROKEN_ANSWER, "a NUL or a lone CR in the headers")
NO_HEADER = Failure(FailureKind.BROKEN_ANSWER, "a header line that is none")
HEAD_NOT_ENDED = Failure(FailureKind.BROKEN_ANSWER, "the connection was closed in the headers")
INTERIM_ONLY = Failure(FailureKind.BROKEN_ANSWER, "interim answers without end")
BAD_LENGTH = Failure(FailureKind.BROKEN_ANSWER, "a bad Content-Length")
HTTP2_LOST = Failure(FailureKind.BROKEN_ANSWER, "the HTTP/2 session was lost before a complete answer")
BODY_NOT_ENDED = Failure(FailureKind.BROKEN_ANSWER, "the body does not end as announced")
HEAD_TOO_LARGE = Failure(FailureKind.HEADERS_TOO_LARGE, f"headers over {HEAD_CAP} bytes or {HEAD_LINES} lines")


_VERIFY_REASONS = {  # X509_V_ERR_...: OpenSSL's words for them would come with names of the receiver
    9: "not yet valid",
    10: "has expired",
    18: "self-signed",
    19: "from an authority that is not trusted",  # its chain came whole
    # Whose issuer neither came nor is known: without it, nobody can tell whether it is trusted.
    20: "incomplete chain, or from an authority that is not trusted",
    21: "incomplete chain, or from an authority that is not trusted",
}
_OTHER_NAME = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, ..._IP_ADDRESS_MISMATCH
_BEFORE_ALERT = re.compile(r".* (?=alert )")  # a version that is OpenSSL's, not the connection's
_TOO_OLD = "only versions of TLS that are too old are spoken there"
_TLS_REASONS = {
    "alert certificate required": "a certificate of ours is wanted",
    "alert handshake failure": "refused there: no cipher in common, or a certificate of ours is wanted",
    "alert protocol version": _TOO_OLD,
    "unsupported protocol": _TOO_OLD,
}


def certificate_refused(verify_result: int) -> Failure:
    """By the number that OpenSSL's verification ended with."""
    if verify_result in _OTHER_NAME:
        return OTHER_HOST
    reason = _VERIFY_REASONS.get(verify_result, f"verification error {verify_result}")
    return Failure(FailureKind.TLS, f"certificate refused: {reason}")


def tls_failed(reason: str) -> Failure:
    """By OpenSSL's reason, which quotes nothing of the receiver's; the same one is written in several ways."""
    words = _BEFORE_ALERT.sub("", reason.replace("_", " ").strip().lower())
    return Failure(FailureKind.TLS, f"TLS: {_TLS_REASONS.get(words, words)}")


def not_connected(error_number: int) -> Failure:
    """No connection to the address, by the system's error number (0: it gave none)."""
    match error_number:
        case errno.ECONNREFUSED:
            return Failure(FailureKind.CONNECTION_REFUSED, "connection refused")
        case errno.ETIMEDOUT:
            return NOT_IN_TIME
        case errno.ECONNRESET:
            return Failure(FailureKind.CONNECTION_RESET, "the connection was lost as soon as it was made")
        case _:
            why = errno.errorcode.get(error_number, "no address could be connected to")
            return Failure(FailureKind.UNREACHABLE, f"not reachable ({why})")


def unexpected(surprise: Exception) -> Failure:
    """What no transport reckons with; its own text could hold what it must not."""
    return Failure(FailureKind.BROKEN_ANSWER, f"unexpected {type(surprise).__name__}")
