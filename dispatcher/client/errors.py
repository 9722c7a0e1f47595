"""What a call of the API raises. No text has the API key, and none has what was sent."""

from collections.abc import Mapping

from dispatcher.errors import DispatcherError


class ApiError(DispatcherError):
    """A call has failed."""


class Problem(ApiError):
    """The API has refused the call.

    `status` and `title` are those of HTTP, `detail` says why. `errors` has the reason for each field that was refused.
    `retry_after` has the seconds after which the same call may succeed, None where no time helps. The API's log has
    more under `request_id`.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        errors: Mapping[str, str],
        retry_after: int | None,
        request_id: str | None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        self.request_id = request_id


class NoAnswer(ApiError):
    """The API could not be reached, or did not answer in time. What was asked for may have been done all the same."""


class UnexpectedAnswer(ApiError):
    """What came back is no answer of this API: something else is at the URL, for instance a proxy, or the API is older
    than the client. `status` is its status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the answer, of status {status}, is not the API's: {reason}")
        self.status = status
