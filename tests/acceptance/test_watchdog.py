"""A loop that makes no progress costs its node a moment, and no delivery."""

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from tests.acceptance.stuck_once import MARK, SECONDS
from tests.acceptance.test_workers import eventually, python
from tests.behaviours import HANG, final
from tests.factories import MESSAGE, RECEIVED, attempts, deliveries, make_webhook
from tests.receiver import Receiver

pytestmark = pytest.mark.node


def test_a_stuck_loop_is_replaced_and_says_where_it_stood_and_what_was_in_flight_is_sent_again(
    database: Engine, settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    gate = receiver.gate()
    receiver.script("/hook", HANG, (gate, final(200)))
    make_webhook(database, settings, url=receiver.url("/hook"))
    mark = tmp_path / "mark"
    words = ("tests.acceptance.stuck_once", "deliver", "-c", "1")
    with python(*words, log=tmp_path / "log", **{MARK: str(mark)}) as node:
        eventually(lambda: node.ready, node)
        enqueue(RECEIVED, MESSAGE, account="acme")
        receiver.wait_for(1, timeout=20)
        mark.touch()
        receiver.wait_for(2, timeout=20)
        assert [(row.state, row.deaths) for row in deliveries(database)] == [("claimed", 0)]
        time.sleep(2 * SECONDS)  # the next one makes progress while it waits for the answer
        gate.open()
        eventually(lambda: [row.state for row in deliveries(database)] == ["delivered"], node)
        (line,) = node.lines("a child made no progress and was replaced")
    assert len(receiver.received) == 2
    assert "in _never_ends" in line["stood_at"]
    assert "workers/loop.py" in line["stood_at"]
    assert [row.outcome_unknown for row in attempts(database)] == [True, False]
