"""Events that a test collects, in transactions of its own, by each driver."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine

from dispatcher import InvalidEvent, enqueue, wake_workers
from dispatcher.settings import Settings
from dispatcher.testing import Enqueued, collecting
from dispatcher.wake import Waker
from tests.integration.events.ways import WAYS, Way, opened


@pytest.fixture
def enqueued() -> Iterator[Enqueued]:
    with collecting() as collected:
        yield collected


TELL, DO_NOT = ([name for name, way in WAYS.items() if way.wakes is tells] for tells in (True, False))  # type: ignore[attr-defined]


@pytest.fixture
def way(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Way]:
    with opened(request.param, settings.database_url.get_secret_value()) as one:
        yield one


@pytest.mark.parametrize("way", TELL, indirect=True)
def test_they_come_with_the_commit_or_never(way: Way, enqueued: Enqueued, database: Engine) -> None:
    for _ in range(2):
        way.enqueue("a", idempotency_key="k")
        assert way.enqueue("a", idempotency_key="k").repeated
        way.enqueue_nested("undone", undone=True)
        way.enqueue_nested("b", undone=False)
        assert list(enqueued) == []
        way.rollback()
        assert not way.enqueue("a", idempotency_key="k").repeated
        way.enqueue_nested("undone", undone=True)
        way.enqueue_nested("b", undone=False)
        way.enqueue("c")
        way.commit()
        assert [event.type for event in enqueued] == ["a", "b", "c"]
        enqueued.clear()


@pytest.mark.parametrize("way", DO_NOT, indirect=True)
def test_a_driver_that_does_not_tell_of_commits_has_them_at_once(
    way: Way, enqueued: Enqueued, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Waker, "wake", None)  # nobody is to be woken
    way.enqueue("a", idempotency_key="k")
    assert way.enqueue("a", idempotency_key="k").repeated
    wake_workers()
    assert [event.type for event in enqueued] == ["a"]


def test_a_savepoint_of_a_connection_takes_what_was_released_into_it(enqueued: Enqueued) -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        enqueue("a", 1, account="acme", connection=connection)
        connection.commit()
        assert len(enqueued) == 1
        with connection.begin_nested() as outer:
            enqueue("undone", 1, account="acme", connection=connection)
            with connection.begin_nested():
                enqueue("undone", 1, account="acme", connection=connection)
            outer.rollback()
        enqueue("b", 1, account="acme", connection=connection)
        connection.commit()
    engine.dispose()
    assert [event.type for event in enqueued] == ["a", "b"]


def test_what_commits_by_itself_waits_for_nothing(enqueued: Enqueued, settings: Settings, database: Engine) -> None:
    engine = create_engine(settings.database_url.get_secret_value(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        enqueue("a", 1, account="acme", connection=connection)
        assert len(enqueued) == 1
    engine.dispose()


def test_what_is_no_connection_is_refused(enqueued: Enqueued) -> None:
    with pytest.raises(InvalidEvent, match="connection is of a kind that enqueue does not know: object"):
        enqueue("a", 1, account="acme", connection=object())
    assert len(enqueued) == 0
