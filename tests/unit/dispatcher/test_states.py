import ast
import re
from pathlib import Path

from dispatcher.states import TRANSITIONS, State

ROOT = Path(__file__).parents[3]
DIAGRAM = ROOT / "docs" / "states.md"
SOURCES = [
    path
    for folder in ("dispatcher", "workers", "schedules", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "migrations" not in path.parts  # they build what was once, whatever the states are called later
]


def test_the_table_of_transitions_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


def test_sql_takes_the_names_of_states_from_the_enum() -> None:
    quoted = re.compile(f"'({'|'.join(State)})'")
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if quoted.search(text := path.read_text())  # to parse them all takes a second
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and quoted.search(node.value)
    ]
    assert SOURCES
    assert found == []


def test_the_diagram_draws_exactly_the_table() -> None:
    drawn = set(re.findall(r"^\s*(\w+) --> (\w+)", DIAGRAM.read_text(), flags=re.MULTILINE))
    table = {(str(source), str(target)) for source, targets in TRANSITIONS.items() for target in targets}
    assert drawn == table
