"""Series, small charts and failing webhooks come from counts and from what is not counted yet: each request once."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from http import HTTPStatus
from time import monotonic
from uuid import UUID

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from dispatcher.settings import Settings
from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.pulses import recent as recent_module
from dispatcher.webhooks.pulses.outcomes import ALL
from dispatcher.webhooks.pulses.reading import SERIES, _asked, bars, failing, series
from dispatcher.webhooks.pulses.recent import Recent
from dispatcher.webhooks.pulses.series import Failing, Series
from dispatcher.webhooks.pulses.steps import FINE, Step, Times, floor
from tests.factories import change, change_webhook, make_webhook
from tests.many_rows import reading_less_than
from tests.requests_made import Made, monday, outcome, record
from workers.maintenance.pulses import FORGET, count_pulses

NOW = monday() + timedelta(hours=40, minutes=37, seconds=11)
FAILURES = ({"verdict": "rejected", "status": 404}, {"verdict": "temporary", "status": None, "failure": "dns"})


def count(database: Engine, now: datetime, runs: int = 3) -> None:
    for _ in range(runs):
        count_pulses(database, now, monotonic() + 30)


@pytest.fixture
def webhooks(database: Engine, settings: Settings) -> dict[UUID, UUID]:
    """Two of one account, one of another, each with its account's id."""
    made = [
        make_webhook(database, settings, url="https://example.com/", account=account, name=name)
        for account, name in (("acme", "a"), ("acme", "b"), ("globex", "a"))
    ]
    return {webhook.id: webhook.account_id for webhook in made}


@pytest.fixture
def made(database: Engine, webhooks: dict[UUID, UUID]) -> list[Made]:
    """Requests of 40 hours, counted so far that days, hours and five minutes are of use, and some that are not counted
    yet."""
    chance = random.Random(1)
    senders, kinds = list(webhooks), [{}, {}, *FAILURES]
    hours = [chance.choice((0, 1, 3, 20, 26, 39)) + chance.random() / 4 for _ in range(800)]
    ages = [timedelta(hours=age) for age in hours] + [timedelta(seconds=age) for age in range(1, 200)]
    made = [Made(NOW - age, chance.choice(senders), **chance.choice(kinds)) for age in ages]
    record(database, [one for one in made if one.at < NOW - timedelta(minutes=1)])
    count(database, NOW)
    record(database, [one for one in made if one.at >= NOW - timedelta(minutes=1)])
    return made


def read(database: Engine, of_id: UUID, times: Times, recent: Recent | None = None, *, exact: bool = True) -> Series:
    with Session(database) as session:
        return series(session, recent or Recent(), of_id, times, NOW, exact=exact)


def rows_taken(session: Session) -> list[int]:
    """How many rows each statement of the session brings from now on."""
    taken: list[int] = []
    event.listen(session.connection(), "after_cursor_execute", lambda *given: taken.append(given[1].rowcount))
    return taken


def test_every_point_is_the_truth_whatever_it_is_made_of(
    database: Engine, webhooks: dict[UUID, UUID], made: list[Made]
) -> None:
    owners = {webhook: {ALL, webhook, account} for webhook, account in webhooks.items()}
    for hours, step in ((0.5, Step.MINUTES_5), (24, Step.MINUTES_15), (40, Step.HOUR), (40, Step.DAY)):
        times = Times.of(NOW, NOW - timedelta(hours=hours), step=step)
        for of_id in (ALL, *webhooks, *webhooks.values()):
            found = read(database, of_id, times)
            assert found.counted_to == NOW
            truth = Counter(
                (floor(one.at, step.length), outcome(one))
                for one in made
                if one.at >= times.since and of_id in owners[one.webhook]
            )
            answered = [one for one in made if one.at >= times.since and one.status and of_id in owners[one.webhook]]
            assert (found.total.answer_times.answers, found.total.answer_times.millis) == (
                len(answered),
                sum(one.ms for one in answered),
            )
            assert truth == {
                (point.starts_at, name): counted.requests
                for point in found.points
                for name, counted in point.counts.outcomes.items()
            }


STATUSES = [int(status) for status in HTTPStatus if status >= 400][:30]


@pytest.fixture
def many_outcomes(database: Engine, webhooks: dict[UUID, UUID]) -> UUID:
    """A webhook whose receiver answers in 30 ways, each once more often than the one before, for two hours; and whose
    host is not always found."""
    webhook, ages = next(iter(webhooks)), [timedelta(minutes=5 * number) for number in range(3, 24)]
    record(
        database,
        [
            Made(NOW - age, webhook, verdict, status)
            for age in ages
            for place, status in enumerate(STATUSES)
            for verdict in ["rejected"] * (place + 1)
        ],
    )
    last = NOW - timedelta(minutes=20)
    record(database, [Made(last, webhook), *[Made(last, webhook, "temporary", 500)] * 2])
    count(database, NOW)
    return webhook


def test_the_twenty_most_frequent_outcomes_are_told_one_by_one_and_the_rest_of_each_verdict_together(
    database: Engine, many_outcomes: UUID
) -> None:
    times = Times.of(NOW, NOW - timedelta(hours=2), step=Step.MINUTES_5)
    found = read(database, many_outcomes, times).total
    by_status = {f"rejected:http_{status}": 21 * (place + 1) for place, status in enumerate(STATUSES)}
    most = dict(list(by_status.items())[10:])
    rest = sum(by_status.values()) - sum(most.values())
    assert {outcome: counted.requests for outcome, counted in found.outcomes.items()} == {
        **most,
        "rejected:other": rest,
        "temporary:other": 2,
        "ok": 1,
    }
    assert found.answer_times.answers == found.requests == found.messages == sum(by_status.values()) + 3
    assert found.with_verdict(Verdict.REJECTED) == sum(by_status.values())


def test_a_point_is_a_row_for_each_outcome_that_is_told_and_one_for_all_answer_times(
    database: Engine, many_outcomes: UUID
) -> None:
    times = Times.of(NOW, NOW - timedelta(hours=2), step=Step.MINUTES_5)
    with Session(database) as session:
        taken = rows_taken(session)
        series(session, Recent(), many_outcomes, times, NOW, exact=True)
        assert taken[0] == 21 * (20 + 1 + 1) + 2
        result = session.execute(SERIES[Step.MINUTES_5, True], _asked([many_outcomes], times)).all()
    assert sum(value is not None for row in result for value in row) == 21 * (21 * 5 + 1 * 4) + 2 * 5


def test_how_many_outcomes_there_are_does_not_tell_customers_whether_a_name_exists(
    database: Engine, webhooks: dict[UUID, UUID]
) -> None:
    one, other = list(webhooks)[:2]
    at, times = NOW - timedelta(minutes=20), Times.of(NOW, NOW - timedelta(hours=1))
    for webhook, kind in ((one, "dns"), (other, "address_refused")):
        statuses = [*STATUSES[:19], *STATUSES[:19]]
        made = [Made(at, webhook, "rejected", status) for status in statuses]
        record(database, [*made, *[Made(at, webhook, "temporary", None, "address_refused")] * 2])
        record(database, [Made(at, webhook, "temporary", None, kind)] * 2)
    count(database, NOW)
    told = [read(database, webhook, times, exact=False).total.outcomes for webhook in (one, other)]
    assert told[0] == told[1]
    assert "rejected:other" not in told[0]


def test_a_series_of_times_that_are_over_has_nothing_of_the_last_minutes(
    database: Engine, webhooks: dict[UUID, UUID], made: list[Made]
) -> None:
    times = Times.of(NOW, NOW - timedelta(hours=2), NOW - timedelta(hours=1), Step.MINUTES_15)
    assert read(database, ALL, times).total.requests == sum(times.since <= one.at < times.until for one in made) > 0


def test_a_run_of_upkeep_between_two_looks_changes_nothing(
    database: Engine, webhooks: dict[UUID, UUID], made: list[Made]
) -> None:
    recent, times = Recent(), Times.of(NOW, NOW - timedelta(hours=1))
    before = read(database, ALL, times, recent)
    count(database, NOW + timedelta(minutes=1), runs=1)
    assert read(database, ALL, times, recent).total == before.total


def test_what_is_not_counted_yet_is_read_once_in_a_while_for_all_who_look(
    database: Engine, webhooks: dict[UUID, UUID], made: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    recent, times = Recent(), Times.of(NOW, NOW - timedelta(hours=1))
    read(database, ALL, times, recent)
    with Session(database) as session, reading_less_than(1, session, "requests"):
        for of_id in webhooks:
            series(session, recent, of_id, times, NOW, exact=True)
    record(database, [Made(NOW - timedelta(seconds=1), next(iter(webhooks)))])
    before = read(database, ALL, times, recent).total.requests
    monkeypatch.setattr(recent_module, "monotonic", lambda: monotonic() + recent_module.LONGEST)
    assert read(database, ALL, times, recent).total.requests == before + 1


def test_nobody_keeps_a_connection_to_wait_for_another_who_counts(
    database: Engine, webhooks: dict[UUID, UUID], made: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    recent, times = Recent(), Times.of(NOW, NOW - timedelta(hours=1))
    whole = read(database, ALL, times, recent)
    counts_again = Recent()
    monkeypatch.setattr(recent_module, "monotonic", lambda: monotonic() + 5)
    with ThreadPoolExecutor(1) as thread, recent._lock, counts_again._lock:
        others = [thread.submit(read, database, ALL, times, each) for each in (recent, counts_again)]
        done, _ = wait(others, 10)
    assert done == set(others)
    known, none = (each.result() for each in others)
    assert (known.total, known.counted_to) == (whole.total, whole.counted_to)
    assert none.counted_to == NOW - timedelta(minutes=2)
    assert none.total.requests == sum(times.since <= one.at < NOW - timedelta(minutes=2) for one in made)


def test_while_upkeep_is_away_only_what_it_has_counted_is_shown_and_it_says_so(
    database: Engine, webhooks: dict[UUID, UUID], made: list[Made]
) -> None:
    later = NOW + timedelta(minutes=9)
    times = Times.of(later, NOW - timedelta(hours=1))
    with Session(database) as session, reading_less_than(1, session, "requests"):
        found = series(session, Recent(), ALL, times, later, exact=True)
    assert found.counted_to == NOW - timedelta(minutes=2)
    assert found.total.requests == sum(times.since <= one.at < NOW - timedelta(minutes=2) for one in made)


def test_small_charts_of_many_webhooks_have_each_hour_of_each(
    database: Engine, webhooks: dict[UUID, UUID], made: list[Made]
) -> None:
    with Session(database) as session:
        charts = bars(session, Recent(), list(webhooks), NOW)
    assert list(charts) == list(webhooks)
    verdicts = [Verdict.ACKNOWLEDGED, Verdict.REJECTED, Verdict.TEMPORARY]
    for webhook, chart in charts.items():
        assert len(chart) == 25
        for bar in chart:
            in_hour = Counter(
                one.verdict
                for one in made
                if one.webhook == webhook and bar.starts_at <= one.at < bar.starts_at + timedelta(hours=1)
            )
            assert list(bar[1:]) == [in_hour[verdict] for verdict in verdicts]


def test_the_webhooks_that_fail_are_found_worst_first_with_what_they_fail_with(
    database: Engine, settings: Settings
) -> None:
    counts = {"well": (95, 3), "bad": (60, 30), "worse": (0, 40), "few": (0, 19), "deleted": (0, 50), "new": (0, 25)}
    made = {
        name: make_webhook(database, settings, url="https://example.com/", account=account, name=name)
        for name, account in zip(counts, ("acme", "acme", "globex", "acme", "acme", "acme"), strict=True)
    }
    before, last = NOW - timedelta(minutes=20), NOW - timedelta(seconds=5)
    record(database, [Made(NOW - timedelta(minutes=90), made["well"].id, **FAILURES[0])] * 500)
    for name, (good, failed) in counts.items():
        at = last if name == "new" else before
        record(database, [Made(at, made[name].id)] * good + [Made(at, made[name].id, **FAILURES[1])] * (failed - 2))
        record(database, [Made(last, made[name].id, **FAILURES[0])] * 2)
    change_webhook(database, settings, made["deleted"], "delete")
    count(database, NOW, runs=1)

    def found(**asked: object) -> list[Failing]:
        with Session(database) as session:
            return failing(session, Recent(), NOW, **asked)  # type: ignore[arg-type]

    worst = [
        Failing(made[name].id, sum(counts[name]), counts[name][1], "temporary:dns") for name in ("worse", "bad", "new")
    ]
    assert found(exact=True) == worst
    few = Failing(made["few"].id, 19, 19, "temporary:dns")
    assert found(exact=True, always={few.webhook_id}) == [*worst, few], "whatever their number"
    (of_globex,) = found(account=made["worse"].account_id, exact=False)
    assert (of_globex.webhook_id, of_globex.most_often) == (made["worse"].id, "temporary:address_refused")


def test_each_webhook_that_fails_is_one_row_whatever_its_receiver_answers(
    database: Engine, webhooks: dict[UUID, UUID]
) -> None:
    ids, at = list(webhooks), NOW - timedelta(minutes=20)
    record(database, [Made(at, ids[0], "rejected", status) for status in range(400, 430)])
    record(database, [Made(at, webhook, **FAILURES[1]) for webhook in ids for _ in range(25)])
    count(database, NOW, runs=1)
    with Session(database) as session:
        taken = rows_taken(session)
        for account in (None, webhooks[ids[0]]):
            taken.clear()
            found = failing(session, Recent(), NOW, account=account, exact=True)
            assert found[0] == Failing(ids[0], 55, 55, "temporary:dns")
            assert len(found) in taken


_MANY = """
INSERT INTO dispatcher.pulses
SELECT span, md5(w::text)::uuid, CAST(:now AS timestamptz) - n * span * interval '1 minute', o,
  1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
FROM unnest(ARRAY[5, 60, 1440]) span, generate_series(1, 40) w, generate_series(0, 400) n,
  unnest(ARRAY['ok', 'temporary:dns']) o
WHERE n * span < CASE span WHEN 5 THEN 2000 WHEN 60 THEN 24000 ELSE 600000 END
"""


def test_however_many_rows_there_are_only_those_of_the_series_are_read(
    database: Engine, webhooks: dict[UUID, UUID]
) -> None:
    count(database, NOW, runs=1)
    change(database, _MANY, now=NOW.replace(minute=0, second=0))
    change(database, "ANALYZE dispatcher.pulses")
    one = UUID("c4ca4238-a0b9-2382-0dcc-509a6f75849b")  # of 1
    with Session(database) as session:
        for step, back in ((Step.MINUTES_5, 1), (Step.MINUTES_15, 1), (Step.HOUR, 12), (Step.DAY, 399)):
            times = Times.of(NOW, NOW - timedelta(days=back), step=step)
            with reading_less_than(5_000, session, "pulses", step):
                series(session, Recent(), one, times, NOW, exact=True)
        with reading_less_than(300, session, "pulses"):
            bars(session, Recent(), [one], NOW)
        with reading_less_than(4_000, session, "pulses"):
            failing(session, Recent(), NOW, exact=True)
        account = next(iter(webhooks.values()))
        with reading_less_than(1, session, "pulses"):  # it has no requests, and what others have is not read
            failing(session, Recent(), NOW, account=account, exact=True)
        with reading_less_than(50, session, "pulses"):
            session.execute(FORGET, {"span": FINE, "until": NOW - timedelta(days=2)})
