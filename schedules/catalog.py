"""The retry schedules that a contract can name."""

from datetime import timedelta

from schedules.retry import RetrySchedule

DEFAULT = RetrySchedule(
    # What BulkSMS promises its customers: 90 s, 3, 6, 12 min, then every 15 min for 2 days (192 x 15 min). 196 retries.
    name="default",
    delays=(
        timedelta(seconds=90),
        timedelta(minutes=3),
        timedelta(minutes=6),
        timedelta(minutes=12),
        *[timedelta(minutes=15)] * 192,
    ),
)

HOUR = RetrySchedule(
    # The first delays of the default schedule, as many as end within an hour of the first attempt.
    name="hour",
    delays=(*DEFAULT.delays[:4], *[timedelta(minutes=15)] * 2),
)

DOUBLING = RetrySchedule(
    # 5, 10, 20 s and so on, doubling up to 81,920 s: 45.5 hours in all.
    name="doubling",
    delays=tuple(timedelta(seconds=5 * 2**step) for step in range(15)),
)

SCHEDULES: dict[str, RetrySchedule] = {schedule.name: schedule for schedule in (DEFAULT, HOUR, DOUBLING)}
