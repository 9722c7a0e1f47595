"""What who enqueues is told while the database is away, and when it is back."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from dispatcher import Event, Producer, Unavailable, enqueue_many
from dispatcher.db.engines import Limits
from dispatcher.settings import Settings
from tests.factories import change, make_account, rows
from tests.integration.events.fronts import FRONTS, Front
from tests.process_table import eventually
from tests.relay import Relay, relayed

AWAY, READ_ONLY = (
    "the database (DATABASE_URL) does not answer",
    "the database takes no writes at the moment: it is read-only",
)
NOT_STORED, MAYBE_STORED = ": the event was not stored", ": the event may have been stored; send it again with its key"


@pytest.fixture
def behind(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Relay, Settings]]:
    """A relay before the database, for which half a second is waited."""
    monkeypatch.setattr("dispatcher.producer.GROUPS", Limits(0.4, lock=0.05))
    with relayed(settings) as behind:
        yield behind


@pytest.fixture
def relay(behind: tuple[Relay, Settings]) -> Relay:
    return behind[0]


@pytest.fixture
def producer(behind: tuple[Relay, Settings], database: Engine) -> Iterator[Producer]:
    make_account(database)
    one = Producer(behind[1])
    yield one
    one.close()


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest, producer: Producer) -> Iterator[Front]:
    with FRONTS[request.param](producer) as one:
        yield one


def stored(database: Engine) -> int:
    return len(rows(database, "SELECT 1 FROM dispatcher.events"))


def told(front: Front) -> str:
    error = front.call().exception(20)
    assert isinstance(error, Unavailable)
    assert isinstance(error.__cause__, OperationalError) or "ReadOnly" in str(error.__cause__)
    return str(error)


@pytest.mark.parametrize(
    ("begins", "ends", "first", "then"),
    [
        (Relay.be_silent, Relay.restore, AWAY + MAYBE_STORED, AWAY + NOT_STORED),
        (Relay.cut, Relay.restore, None, AWAY + NOT_STORED),
    ],
)
def test_an_outage_is_said_in_bounded_time_and_over_when_the_database_is_back(
    front: Front,
    relay: Relay,
    database: Engine,
    begins: Callable[[Relay], None],
    ends: Callable[[Relay], None],
    first: str | None,
    then: str,
) -> None:
    front.call().result(20)
    begins(relay)
    if first is not None:
        assert told(front) == first
    assert told(front) == then
    ends(relay)
    count = stored(database)
    assert front.call().exception(20) is None
    assert eventually(lambda: stored(database) > count)


def test_a_database_that_takes_no_writes_is_an_outage(front: Front, database: Engine) -> None:
    front.call().result(20)
    change(database, "ALTER ROLE dispatcher SET default_transaction_read_only TO on")
    try:
        front.producer.groups.dispose()
        assert told(front) == READ_ONLY + NOT_STORED
    finally:
        change(database, "ALTER ROLE dispatcher RESET default_transaction_read_only")
    assert front.call().exception(20) is None
    assert stored(database) == 2


def test_many_events_end_with_an_outage(producer: Producer, relay: Relay, database: Engine) -> None:
    events = [Event(type="a", data=number, account="acme") for number in range(3)]
    relay.cut()
    with pytest.raises(Unavailable, match="was not stored"):
        list(enqueue_many(events, producer=producer))
    assert stored(database) == 0


@pytest.mark.parametrize(
    "code", ["57014", "40P01", "40001", "55P03"], ids=["statement timeout", "deadlock", "serialization", "lock timeout"]
)
def test_a_statement_that_is_cancelled_because_of_others_is_told_as_everything_that_passes(
    front: Front, database: Engine, code: str
) -> None:
    """A backend catches `Unavailable`, and no error of the driver."""
    change(
        database,
        "CREATE FUNCTION cancelled() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN RAISE ''cancelled'' USING ERRCODE = ''{code}''; END'",
    )
    try:
        change(
            database,
            "CREATE TRIGGER cancelled BEFORE INSERT ON dispatcher.events FOR EACH ROW EXECUTE FUNCTION cancelled()",
        )
        error = front.call().exception(20)
        assert isinstance(error, Unavailable), repr(error)
        assert stored(database) == 0
    finally:
        change(database, "DROP FUNCTION cancelled CASCADE")
