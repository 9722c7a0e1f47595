"""Hostile events by every way in: refused by the name of a field, or kept to the byte; the good one beside goes in."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import Accepted, Event, InvalidEvent, Refused, UnknownAccount, enqueue, enqueue_many
from dispatcher.settings import Settings
from tests import hostile_values
from tests.factories import make_account, rows
from tests.hostile_values import steering
from tests.integration.api.conftest import Api
from tests.integration.cli.conftest import Cli

GOOD = b'{"good":1}'


def stored(database: Engine) -> list[Any]:
    return rows(database, "SELECT * FROM dispatcher.events ORDER BY id")


def beside_good_ones(events: Iterable[Event]) -> list[Accepted | Refused]:
    """The receipts of events that are enqueued in one group with good ones, which all go in."""

    def mixed() -> Iterable[Event]:
        for event in events:
            yield Event(type="good", data=GOOD, account="acme")
            yield event
        yield Event(type="good", data=GOOD, account="acme")

    receipts = list(enqueue_many(mixed()))
    assert all(isinstance(receipt, Accepted) for receipt in receipts[::2])
    return receipts[1::2]


@pytest.mark.parametrize("field", ["app", "subject", "idempotency_key"])
def test_a_text_of_an_event_is_kept_as_it_is_or_refused(database: Engine, settings: Settings, field: str) -> None:
    make_account(database)
    values = hostile_values.ALL
    events = (Event(**{"type": "a", "data": None, "account": "acme", field: text}) for text in values.values())
    for text, receipt in zip(values.values(), beside_good_ones(events), strict=True):
        if text in hostile_values.TEXTS.values():
            assert isinstance(receipt, Accepted), (text, receipt)
            continue
        assert isinstance(receipt, Refused)
        assert isinstance(receipt.error, InvalidEvent)
        assert receipt.error.field == field
        assert not steering(str(receipt.error), allowed="")
    table = "idempotency_keys" if field == "idempotency_key" else "events"
    column = "key" if field == "idempotency_key" else field
    kept = [row[0] for row in rows(database, f"SELECT {column} FROM dispatcher.{table} WHERE {column} IS NOT NULL")]
    assert sorted(kept) == sorted(hostile_values.TEXTS.values())


def test_a_hostile_type_or_account_is_refused_by_its_name(database: Engine, settings: Settings) -> None:
    make_account(database)
    values = [*hostile_values.ALL.values(), "", ".", "*", "a..b"]
    types = beside_good_ones(Event(type=text, data=None, account="acme") for text in values)
    accounts = beside_good_ones(Event(type="a", data=None, account=text) for text in values)
    for field, receipts in (("type", types), ("account", accounts)):
        for receipt in receipts:
            assert isinstance(receipt, Refused)
            assert isinstance(receipt.error, InvalidEvent | UnknownAccount)
            assert receipt.error.field == field
            assert not steering(str(receipt.error), allowed="")
            assert len(str(receipt.error)) < 4_000
    assert {row.type for row in stored(database)} == {"good"}


@pytest.mark.parametrize("field", ["occurred_at", "expires_at"])
def test_a_time_of_any_zone_is_kept_to_the_microsecond(database: Engine, settings: Settings, field: str) -> None:
    make_account(database)
    moment = datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC)
    zones = [timezone(timedelta(hours=sign * 23, minutes=59)) for sign in (1, -1)]
    zones += [timezone(timedelta(microseconds=1)), timezone(timedelta(hours=-1, seconds=-1)), UTC]
    moments = [moment.replace(tzinfo=zone) for zone in zones]
    receipts = beside_good_ones(
        Event(**{"type": "a", "data": None, "account": "acme", field: moment}) for moment in moments
    )
    assert all(isinstance(receipt, Accepted) for receipt in receipts)
    assert enqueue("a", None, account="acme", **{field: moments[0]})  # type: ignore[arg-type]  # by the other statement
    kept = [getattr(row, field) for row in stored(database) if row.type == "a"]
    assert kept == [*moments, moments[0]]


def by_enqueue(data: bytes, api: Api, token: str, cli: Cli) -> str | None:
    try:
        enqueue("a", data, account="acme")
    except InvalidEvent as refused:
        assert refused.field == "data"  # noqa: PT017
        return str(refused)
    return None


def by_api(data: bytes, api: Api, token: str, cli: Cli) -> str | None:
    answer = api.post_event(b'{"type":"a","data":' + data + b"}", token=token)
    if answer.status_code == 202:
        return None
    assert answer.status_code in {400, 413, 422}
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.content.isascii()
    assert len(answer.content) < 1_000
    return str(answer.json()["detail"])


def by_file(data: bytes, api: Api, token: str, cli: Cli) -> str | None:
    ran = cli("enqueue", "--account", "acme", "--type", "a", "-", stdin=GOOD + b"\n" + data)
    assert ran.out.startswith("accepted 2" if ran.status == 0 else "accepted 1, repeated 0, refused 1")
    assert "Traceback" not in ran.err
    return ran.err if ran.status else None


WAYS = [by_enqueue, by_api, by_file]
Way = Callable[[bytes, Api, str, Cli], str | None]


@pytest.mark.parametrize("way", WAYS)
def test_json_is_stored_to_the_byte(
    database: Engine, settings: Settings, api: Api, token: str, cli: Cli, way: Way
) -> None:
    texts = [json.dumps({text: text}, ensure_ascii=False).encode() for text in hostile_values.TEXTS.values()]
    given = [data for data in [*hostile_values.JSON.values(), *texts] if way is not by_file or b"\n" not in data]
    for data in given:
        assert way(data, api, token, cli) is None, data[:100]
    kept = [bytes(row.data) for row in stored(database)]
    # White space around a value is not the value's, where it stands in a document or on a line.
    expected = given if way is by_enqueue else [data.strip() for data in given]
    assert [data for data in kept if data != GOOD] == expected


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_json_is_refused_and_not_repeated(
    database: Engine, settings: Settings, api: Api, token: str, cli: Cli, way: Way
) -> None:
    for name, data in hostile_values.NO_JSON.items():
        if way is by_file and not data:
            continue  # a blank line is none
        told = way(data, api, token, cli)
        assert told is not None, name
        assert not steering(told), name
        assert len(told) < 300, name
    assert {bytes(row.data) for row in stored(database)} <= {GOOD}


def test_a_members_name_or_value_in_a_file_is_a_subject_or_refused(
    database: Engine, settings: Settings, cli: Cli
) -> None:
    make_account(database)
    lines = [json.dumps({"id": text}) for text in hostile_values.ALL.values()]
    lines += ['{"id":' + "9" * 100_000 + "}", '{"id":1,"id":2}', '{"%s":1,"%s":2}' % (("x" * 1_000,) * 2), "[]"]
    recipe = ("--subject-member", "id", "--key-member", "id")
    ran = cli("enqueue", "--account", "acme", "--type", "a", *recipe, "-", stdin="\n".join(lines).encode())
    assert ran.status == 1
    assert sorted(row.subject for row in stored(database)) == sorted(hostile_values.TEXTS.values())
    assert not steering(ran.out + ran.err)
    assert len([line for line in ran.err.splitlines() if line.startswith("line ")]) == len(lines) - len(
        hostile_values.TEXTS
    )
    assert all(len(line) < 200 for line in ran.err.splitlines())
