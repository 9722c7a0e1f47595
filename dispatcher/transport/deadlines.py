"""The deadlines of an exchange: for connecting, and for all of it."""

from time import monotonic


class Deadlines:
    """Moments of one exchange, in monotonic seconds: when it `began`, and when its `connect` (DNS lookup, connection
    and TLS) and its `total` must have ended.

    Time that an exchange waits because of us must not count against the receiver: `put_off` moves all of them.
    """

    __slots__ = ("began", "connect", "total")

    def __init__(self, connect_timeout: float, timeout: float) -> None:
        self.began = monotonic()
        self.total = self.began + timeout
        self.connect = min(self.began + connect_timeout, self.total)

    def put_off(self, seconds: float) -> None:
        """Moves everything by the seconds that the exchange waited because of us."""
        self.began += seconds
        self.connect += seconds
        self.total += seconds
