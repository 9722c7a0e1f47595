"""When a notice may be sent: the 24 hours of quiet after a mail, and the retries while the mail server is
unavailable."""

from datetime import datetime, timedelta

QUIET_PERIOD = timedelta(hours=24)  # rolling, from the last mail about the same error; no setting scales it

MAIL_RETRIES = (
    # After a clean failure. Hourly until the end, so that a recovered mail server is noticed within an hour.
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(minutes=30),
    *[timedelta(hours=1)] * 23,
)


def is_stale(observed_at: datetime, *, now: datetime) -> bool:
    """Whether the error is older than the quiet period. A mail about it would come too late, so it is not sent."""
    return now >= observed_at + QUIET_PERIOD


def next_try(failed_sends: int, *, observed_at: datetime, now: datetime) -> datetime | None:
    """When a mail is tried again after its `failed_sends`-th clean failure in a row; None means never."""
    if failed_sends > len(MAIL_RETRIES):
        return None
    moment = now + MAIL_RETRIES[failed_sends - 1]
    return None if is_stale(observed_at, now=moment) else moment
