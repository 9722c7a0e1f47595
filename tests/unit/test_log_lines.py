"""docs/logs.md lists what our code logs: each logger, level, event and field, found in the syntax of its calls."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "logs.md").read_text()
LEVELS = {"debug", "info", "warning", "error", "critical"}
IDS = frozenset({"delivery", "event_id", "webhook"})
# What is handed on as a whole: the fields are those of what is called.
WHOLE = {"ids": IDS, "_ids": IDS, "_told": frozenset({"error", "exception"}), "counts": frozenset[str]()}


class Line(NamedTuple):
    logger: str
    level: str
    event: str
    fields: frozenset[str]


def loggers(tree: ast.Module) -> dict[str, str]:
    """The loggers of a module, by their variables."""
    return {
        target.id: node.value.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr in {"get_logger", "getLogger"}
        and node.value.args
        and isinstance(node.value.args[0], ast.Constant)
    }


def fields_of(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        match keyword:
            case ast.keyword(arg="extra", value=ast.Dict(keys=keys)):
                yield from (key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
            case ast.keyword(arg=str(name)):
                yield name
            case ast.keyword(value=ast.Call(func=ast.Name(id=name)) | ast.Attribute(attr=name) | ast.Name(id=name)):
                yield from WHOLE[name]


def logged() -> Iterator[Line]:
    """Each call of a logger whose event is a constant."""
    for path in [*(ROOT / "dispatcher").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]:
        text = path.read_text()
        if "get_logger" not in text and "getLogger" not in text:  # to parse all modules takes a second
            continue
        tree = ast.parse(text)
        names = loggers(tree)
        for node in ast.walk(tree):
            match node:
                case (
                    ast.Call(
                        func=ast.Name(id="partial"),
                        args=[ast.Attribute(value=ast.Name(id=name), attr=level), ast.Constant(value=str(event)), *_],
                    )
                    | ast.Call(
                        func=ast.Attribute(value=ast.Name(id=name), attr=level),
                        args=[ast.Constant(value=str(event)), *_],
                    )
                ) if name in names and level in LEVELS:
                    shown = re.sub(r"%[.\d]*[sdf]", "…", event).replace("\n", " ")
                    yield Line(names[name], level, shown, frozenset(fields_of(node)))


def documented() -> Iterator[Line]:
    for row in re.findall(r"^\| `([\w.]+)` \| (\w+) \| `(.+?)` \| (.*?) \| .*\|$", PAGE, re.MULTILINE):
        logger, level, event, fields = row
        yield Line(logger, level, event, frozenset(re.findall(r"`(\w+)`", fields)))


# The events of these are given to a function that logs them.
GIVEN = {("dispatcher.results", "result recorded without its request"), ("dispatcher.results", "result given up")}


def test_the_page_lists_each_line_that_our_code_logs_with_its_fields_and_no_other() -> None:
    listed = {line for line in documented() if (line.logger, line.event) not in GIVEN}
    assert len(listed) > 60
    assert listed == set(logged())


def test_each_line_is_listed_once() -> None:
    places = [(line.logger, line.event) for line in documented()]
    assert sorted(places) == sorted(set(places))


def test_events_that_are_given_to_a_function_are_in_the_code() -> None:
    writer = (ROOT / "workers" / "results" / "writer.py").read_text()
    for _, event in GIVEN:
        assert f'"{event}"' in writer
