"""The retry schedules a contract can name."""

from datetime import timedelta

from schedules.retry import RetrySchedule

DEFAULT = RetrySchedule(
    # seed 000: 90 s, 3, 6, 12 min, then every 15 min for 2 days (192 x 15 min), 196 retries in all
    name="default",
    delays=(
        timedelta(seconds=90),
        timedelta(minutes=3),
        timedelta(minutes=6),
        timedelta(minutes=12),
        *[timedelta(minutes=15)] * 192,
    ),
)

SCHEDULES: dict[str, RetrySchedule] = {schedule.name: schedule for schedule in (DEFAULT,)}
