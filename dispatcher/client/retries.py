"""Whether and when a refused call is made again. Pure."""


def pause(status: int, retry_after: int | None, *, repeatable: bool, patience: float) -> float | None:
    """The seconds to wait before the same request is sent again; None if it is not.

    A 429 came before anything was done. After a 503 it may have been done, so only a `repeatable` request is sent
    again. `patience` is how long the caller still waits, in seconds.
    """
    if retry_after is None or not (status == 429 or (status == 503 and repeatable)):
        return None
    seconds = max(1, retry_after)
    return seconds if seconds <= patience else None
