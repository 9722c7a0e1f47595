import re
from pathlib import Path

from dispatcher.states import CLOSED, OPEN, TRANSITIONS, State

DIAGRAM = Path(__file__).parents[3] / "docs" / "states.md"


def test_the_table_of_transitions_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(State) == OPEN | CLOSED
    assert not OPEN & CLOSED


def test_the_diagram_draws_exactly_the_table() -> None:
    drawn = set(re.findall(r"^\s*(\w+) --> (\w+)", DIAGRAM.read_text(), flags=re.MULTILINE))
    table = {(str(source), str(target)) for source, targets in TRANSITIONS.items() for target in targets}
    assert drawn == table
