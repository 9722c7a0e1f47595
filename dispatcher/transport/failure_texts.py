"""Pure. Faults as failures, each with one text for both transports: the texts are shown to customers.

No text quotes anything from the receiver, and none says more than is known: if two causes look alike, it names both.
"""

import errno
import re

from dispatcher.transport.exchange import Failure, FailureKind
from dispatcher.transport.port import ANSWER_CAP, ANSWER_PIECES, DNS_LOOKUPS, HEAD_CAP, HEAD_LINES, TLS_CAP

NO_ADDRESS = Failure(FailureKind.DNS, "the name has no address")
NO_TURN = Failure(
    FailureKind.NOT_SENT, f"no turn: a worker process looks up {DNS_LOOKUPS} names at once, shared by all accounts"
)
ADDRESS_FULL = Failure(
    FailureKind.NOT_SENT, "no slot: a worker process has as many requests in flight to this address as are allowed"
)
# Others may have delivered it by then: a claim is no longer than its request can take.
TOO_LATE = Failure(FailureKind.NOT_SENT, "too late: this process stood still until the time for an answer was over")

NOT_IN_TIME = Failure(FailureKind.CONNECT_TIMEOUT, "no connection in the time to connect")
NO_TLS_IN_TIME = Failure(FailureKind.CONNECT_TIMEOUT, "no TLS handshake in the time to connect")
LOST_IN_HANDSHAKE = Failure(FailureKind.TLS, "TLS: connection lost in the handshake")

OTHER_HOST = Failure(FailureKind.TLS, "certificate is for another host")

NO_ANSWER_IN_TIME = Failure(FailureKind.TIMEOUT, "no complete answer within the deadline")
CLOSED_WITHOUT_ANSWER = Failure(FailureKind.CONNECTION_RESET, "the connection was closed without an answer")
# Perhaps it was closed as idle at that moment, perhaps after the receiver had taken the request.
KEPT_CLOSED = Failure(
    FailureKind.CONNECTION_RESET, "the connection, kept open since an earlier request, was closed without an answer"
)
LOST = Failure(FailureKind.CONNECTION_RESET, "the connection was lost before a complete answer")

NOT_HTTP = Failure(FailureKind.BROKEN_ANSWER, "not an HTTP answer")
STRAY_BYTE = Failure(FailureKind.BROKEN_ANSWER, "a NUL or a lone CR in the headers")
NO_HEADER = Failure(FailureKind.BROKEN_ANSWER, "an invalid header line")
HEAD_NOT_ENDED = Failure(FailureKind.BROKEN_ANSWER, "the connection was closed in the headers")
INTERIM_ONLY = Failure(FailureKind.BROKEN_ANSWER, "too many interim answers")
BAD_LENGTH = Failure(FailureKind.BROKEN_ANSWER, "a bad Content-Length")
HTTP2_LOST = Failure(FailureKind.BROKEN_ANSWER, "the HTTP/2 session was lost before a complete answer")
BODY_NOT_ENDED = Failure(FailureKind.BROKEN_ANSWER, "the body does not end as announced")
HEAD_TOO_LARGE = Failure(FailureKind.HEADERS_TOO_LARGE, f"headers over {HEAD_CAP} bytes or {HEAD_LINES} lines")
OVER_BUDGET = Failure(
    FailureKind.ANSWER_TOO_LARGE, f"the answer does not end within {ANSWER_CAP} bytes or {ANSWER_PIECES} pieces"
)
TLS_OVER_BUDGET = Failure(FailureKind.ANSWER_TOO_LARGE, f"over {TLS_CAP} bytes of TLS that are no part of the answer")


_VERIFY_REASONS = {  # X509_V_ERR_...: OpenSSL's own texts for them would include names from the receiver
    9: "not yet valid",
    10: "has expired",
    18: "self-signed",
    19: "from an authority that is not trusted",  # its chain was complete
    # The issuer was neither sent nor is known: without it, it is unclear whether it is trusted.
    20: "incomplete chain, or from an authority that is not trusted",
    21: "incomplete chain, or from an authority that is not trusted",
}
_OTHER_NAME = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, ..._IP_ADDRESS_MISMATCH
_BEFORE_ALERT = re.compile(r".* (?=alert )")  # the version that OpenSSL names is not the connection's
_TOO_OLD = "the receiver supports only versions of TLS that are too old"
_TLS_REASONS = {
    "alert certificate required": "the receiver requires a client certificate",
    "alert handshake failure": "the receiver refused: no common cipher, or it requires a client certificate",
    "alert protocol version": _TOO_OLD,
    "unsupported protocol": _TOO_OLD,
}


def certificate_refused(verify_result: int) -> Failure:
    """The failure for the number that OpenSSL's verification ended with."""
    if verify_result in _OTHER_NAME:
        return OTHER_HOST
    reason = _VERIFY_REASONS.get(verify_result, f"verification error {verify_result}")
    return Failure(FailureKind.TLS, f"certificate refused: {reason}")


def tls_failed(reason: str) -> Failure:
    """The failure for OpenSSL's reason, which quotes nothing from the receiver; one reason has several spellings."""
    words = _BEFORE_ALERT.sub("", reason.replace("_", " ").strip().lower())
    return Failure(FailureKind.TLS, f"TLS: {_TLS_REASONS.get(words, words)}")


def not_connected(error_number: int) -> Failure:
    """No connection to the address, by the system's error number (0: there is none)."""
    match error_number:
        case errno.ECONNREFUSED:
            return Failure(FailureKind.CONNECTION_REFUSED, "connection refused")
        case errno.ETIMEDOUT:
            return NOT_IN_TIME
        case errno.ECONNRESET:
            return Failure(FailureKind.CONNECTION_RESET, "the connection was lost as soon as it was made")
        case _:
            why = errno.errorcode.get(error_number, "no connection to any address")
            return Failure(FailureKind.UNREACHABLE, f"not reachable ({why})")


def unexpected(surprise: Exception) -> Failure:
    """For an exception that no transport expects. Its own text could contain what must not be shown."""
    return Failure(FailureKind.BROKEN_ANSWER, f"unexpected {type(surprise).__name__}")
