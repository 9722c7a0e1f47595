"""Rows of requests, as workers record them, with ids of any time; and what they should be counted as."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Engine

from dispatcher.db.arrays import arrays
from dispatcher.ids import first_id_at, new_id
from tests.factories import change


class Made(NamedTuple):
    """A request. `messages` is None in what 0.2.0 recorded, and `verdict` then, too."""

    at: datetime
    webhook: UUID
    verdict: str | None = "acknowledged"
    status: int | None = 200
    failure: str | None = None
    messages: int | None = 1
    ms: int = 20


def monday() -> datetime:
    """When this week began: its partitions are there."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=today.weekday())


_RECORD = """
INSERT INTO dispatcher.requests (id, webhook_id, method, url_masked, headers_masked, answer_cut, answer_unreadable,
  verdict, status, failure, messages, started_at, duration)
SELECT id, webhook, 'POST', '', '', false, false, verdict, status, failure, messages, now(), took
FROM unnest(CAST(:id AS uuid[]), CAST(:webhook AS uuid[]), CAST(:verdict AS text[]), CAST(:status AS smallint[]),
  CAST(:failure AS text[]), CAST(:messages AS smallint[]), CAST(:took AS interval[]))
  AS r(id, webhook, verdict, status, failure, messages, took)
"""


def record(database: Engine, made: Iterable[Made]) -> None:
    """Stores them in one transaction."""
    columns = {name: [getattr(one, name) for one in made] for name in Made._fields}
    ids = [UUID(int=first_id_at(at).int | new_id().int & (1 << 80) - 1) for at in columns.pop("at")]
    took = [timedelta(milliseconds=ms) for ms in columns.pop("ms")]
    change(database, _RECORD, **arrays({"id": ids, "took": took, **columns}))


def outcome(one: Made) -> str:
    """The words for it."""
    known = {int(status) for status in HTTPStatus}
    verdict, status = one.verdict, one.status
    if verdict is None and one.messages is not None:
        return "token_refused"
    if verdict is None:
        verdict = "acknowledged" if status in {101, *range(200, 300)} else "temporary"
        verdict = "rejected" if status in range(400, 500) else verdict
    if verdict == "acknowledged":
        return "ok"
    if status is None:
        return f"{verdict}:{one.failure}"
    return f"{verdict}:http_{status if status in known else f'{status // 100}xx'}"


BOUNDS = (10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
Numbers = tuple[int, ...]  # requests, messages, ms, and answers by class of time


def truth(
    made: Iterable[Made], length: timedelta, accounts: Mapping[UUID, UUID]
) -> dict[tuple[UUID, datetime, str], Numbers]:
    """What they come to: for each webhook that there is (with its account), for the account, and with the id of zeros
    for all."""
    sums: dict[tuple[UUID, datetime, str], Counter[int]] = defaultdict(Counter)
    for one in made:
        begin = datetime.fromtimestamp(one.at.timestamp() // length.total_seconds() * length.total_seconds(), UTC)
        owners = [one.webhook, accounts[one.webhook]] if one.webhook in accounts else []
        for owner in (UUID(int=0), *owners):
            numbers = sums[owner, begin, outcome(one)]
            numbers.update({0: 1, 1: one.messages or 1})
            if one.status is not None:
                numbers.update({2: one.ms, 3 + sum(one.ms > bound for bound in BOUNDS): 1})
    return {key: tuple(numbers[place] for place in range(3 + len(BOUNDS) + 1)) for key, numbers in sums.items()}
