"""What the rig notes of the processes that it looks after."""

from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from tests.faults.ledgers import Harm, Ledger, write_line
from tests.faults.rig import Rig


class Rigged(Rig):
    """A node whose only child ends while it is looked for."""

    def __init__(self, ledger: Path, *, poisoned: bool) -> None:
        self._nodes, self._known, self._killed = dict.fromkeys(["deliver"]), {7: "deliver"}, set()  # type: ignore[assignment]
        self.problems, self.windows = [], []
        self._harm = Ledger(ledger, Harm)
        self._ledger, self._poisoned = ledger, poisoned

    def children(self, of: str) -> list[psutil.Process]:
        if self._poisoned:
            self._ledger.write_text(write_line(Harm(1.0, 7, "render:exit", None, deadly=True)))
        return []


@pytest.mark.parametrize("poisoned", [True, False])
def test_a_child_has_ended_by_itself_if_nothing_that_kills_it_is_on_record(tmp_path: Path, poisoned: bool) -> None:
    rig = Rigged(tmp_path / "harm", poisoned=poisoned)
    rig._note_children()
    assert len(rig.problems) == (0 if poisoned else 1)


class Ended:
    """A node that has ended before it was ready."""

    def said(self) -> str:
        return ""

    def check(self) -> None:
        raise RuntimeError("it has ended")


@pytest.mark.parametrize("mixed", [True, False])
def test_only_in_a_mix_nobody_waits_for_a_node(tmp_path: Path, mixed: bool) -> None:
    """What it needs may be away until another fault ends, which would have to wait for it."""
    rig = Rigged(tmp_path / "harm", poisoned=False)
    rig._nodes, rig.is_mixed = {"deliver": Ended()}, mixed  # type: ignore[dict-item]
    with nullcontext() if mixed else pytest.raises(RuntimeError, match="it has ended"):
        rig.await_node("deliver")
