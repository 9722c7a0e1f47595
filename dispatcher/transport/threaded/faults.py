"""The exception that carries a failure up to where it becomes an outcome."""

from requests.exceptions import RequestException

from dispatcher.transport.exchange import Failure


class NoAnswer(RequestException):
    """No complete answer, and why. Raised where the kind is known, so that no error's text has to be read for it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure = failure
