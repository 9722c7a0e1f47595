import psycopg2
import pytest
from sqlalchemy.exc import OperationalError

from dispatcher.db.outage_log import CALM, OutageLog

REFUSED = OperationalError("", {}, psycopg2.OperationalError("connection refused at planted-host"))
BEGAN = "the database (DATABASE_URL) does not answer (OperationalError): what has to do with it is tried again"


def test_an_outage_is_said_when_it_begins_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    outages = OutageLog(lambda: now[0])
    for _ in range(60):
        outages.failed(REFUSED)
        now[0] += 1
    assert caplog.messages == [BEGAN]
    now[0] += CALM
    for _ in range(3):
        outages.succeeded()
    assert caplog.messages == [BEGAN, "the database can be used again; the outage took 59 s"]
    outages.failed(REFUSED)
    assert caplog.messages[2:] == [BEGAN]


def test_an_outage_of_some_statements_is_one_while_others_succeed(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    outages = OutageLog(lambda: now[0])
    for _ in range(60):
        outages.failed(REFUSED)
        now[0] += 1
        outages.succeeded()
    assert caplog.messages == [BEGAN]
