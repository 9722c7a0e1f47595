"""A task that fails shows the kind of its error and where it was raised, and no value."""

from collections.abc import Callable

import celery
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from dispatcher.errors import ConfigurationError
from dispatcher.wake import DELIVER, NOTICES, REDELIVER, SWEEP
from workers.tasks import add_tasks

PLANTED = "planted-27835550199"
TASKS = [DELIVER, SWEEP, NOTICES, REDELIVER, "dispatcher.upkeep"]


def no_such_key(database: Engine) -> None:
    raise KeyError(PLANTED)


def not_encodable(database: Engine) -> None:
    f"{PLANTED}\ud800".encode()


def bad_value(database: Engine) -> None:
    with Session(database) as session:
        session.execute(text("SELECT CAST(:value AS uuid)"), {"value": PLANTED})


def in_a_chain(database: Engine) -> None:
    try:
        no_such_key(database)
    except KeyError:
        session_failing(database)


def session_failing(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text("SELECT :value FROM dispatcher.nowhere"), {"value": PLANTED})


def not_allowed(database: Engine) -> None:
    with database.connect() as connection, connection.begin() as transaction:
        connection.execute(text("REVOKE SELECT ON dispatcher.notices FROM CURRENT_USER"))
        try:
            connection.execute(text("SELECT :value FROM dispatcher.notices"), {"value": PLANTED})
        finally:
            transaction.rollback()


def not_configured(database: Engine) -> None:
    raise ConfigurationError("DISPATCHER_X is not set")


FAILURES = [
    (no_such_key, "KeyError"),
    (not_encodable, "UnicodeEncodeError"),
    (bad_value, "SQLSTATE 22P02"),
    (in_a_chain, 'relation "dispatcher.nowhere" does not exist'),
    (not_allowed, "the user named in DATABASE_URL may not do this"),
    (not_allowed, "permission denied for table notices"),
    (in_a_chain, "run `dispatcher migrate`"),
    (not_configured, "ConfigurationError: DISPATCHER_X is not set"),
]


@pytest.mark.parametrize(("fail", "told"), FAILURES)
@pytest.mark.parametrize("task", TASKS)
def test_what_failed_is_reported_without_values(
    database: Engine,
    caplog: pytest.LogCaptureFixture,
    task: str,
    fail: Callable[[Engine], None],
    told: str,
) -> None:
    app = celery.Celery(set_as_current=False)
    add_tasks(app, lambda: fail(database))  # type: ignore[arg-type]
    result = app.tasks[task].apply()
    assert result.state == "FAILURE"
    shown = f"{result.result!r} {result.result} {result.traceback}"
    assert told in shown
    assert f"in {fail.__name__}" in result.traceback
    assert caplog.records
    logged = "\n".join(f"{record.getMessage()} {record.exc_text} {record.__dict__}" for record in caplog.records)
    assert PLANTED not in shown + logged
