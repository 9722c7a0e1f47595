"""The exception that carries a failure up to where it becomes an outcome."""

from requests.exceptions import RequestException

from dispatcher.transport.exchange import Failure, FailureKind


class NoAnswer(RequestException):
    """No complete answer, and why. Raised where the kind is known: nobody has to read an error's text for it."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.failure = Failure(kind, detail)
