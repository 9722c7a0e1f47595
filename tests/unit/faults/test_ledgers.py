"""The ledgers as lines of files."""

from pathlib import Path

import pytest

from tests.faults.ledgers import Harm, Ledger, Received, Role, Sent, write_line

SENT = Sent("s1", Role.GIANT, 1.5, 2.5, "e1", 3)
RECEIVED = Received(2.5, "/ok", None, ("s1", "s2"))
HARM = Harm(3.5, 7, "render:exit", "d1", deadly=True)


@pytest.mark.parametrize("record", [SENT, RECEIVED, HARM])
def test_a_record_comes_back_as_it_was_written(record: Sent | Received | Harm, tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_text(write_line(record) * 2)
    assert list(Ledger(path, type(record)).read()) == [record, record]


def test_a_line_whose_writer_was_killed_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_text(write_line(SENT) + write_line(SENT)[:20])
    assert list(Ledger(path, Sent).read()) == [SENT]


def test_a_ledger_that_was_never_begun_is_empty(tmp_path: Path) -> None:
    assert list(Ledger(tmp_path / "none", Sent).read()) == []


def test_what_was_taken_is_not_kept_and_not_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path, Sent)
    assert ledger.take() == []
    path.write_text(write_line(SENT) + write_line(SENT)[:20])
    assert ledger.take() == [SENT]
    assert ledger.take() == []
    path.write_text(write_line(SENT) * 2)
    assert ledger.take() == [SENT]
    assert list(ledger.read()) == []
