"""The house: which rooms it has, that imports run down only, and that the picture in docs/architecture.md is true.

A room is a package or a module right below `dispatcher`, and `workers` and `schedules` as a whole.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
# Seven of the arrows are those of `testing`, a room of its own: others install it, and of ours only the receiver of the
# command line uses it. Eleven are those of `console`, which no other room but the API's process knows.
MAX_ROOMS, MOST_ARROWS, MOST_FLAT = 38, 242, 13


def room(module: str) -> str:
    """The room that a module is in; "" for `dispatcher` itself, which only hands names on."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "dispatcher" else package


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("dispatcher", "workers", "schedules", cache_dir=None)


@pytest.fixture(scope="module")
def arrows(graph: grimp.ImportGraph) -> dict[tuple[str, str], list[str]]:
    """Which room imports which, and by what."""
    found: dict[tuple[str, str], list[str]] = {}
    for module in sorted(graph.modules):
        for imported in graph.find_modules_directly_imported_by(module):
            ends = room(module), room(imported)
            if ends[0] != ends[1] and all(ends):
                found.setdefault(ends, []).append(f"{module} -> {imported}")
    return found


def rooms(graph: grimp.ImportGraph) -> set[str]:
    return {room(module) for module in graph.modules} - {""}


def test_the_house_is_small_enough_to_be_kept_in_mind(
    graph: grimp.ImportGraph, arrows: dict[tuple[str, str], list[str]]
) -> None:
    flat = [path.stem for path in (ROOT / "dispatcher").glob("*.py") if path.stem != "__init__"]
    assert len(rooms(graph)) <= MAX_ROOMS
    assert len(arrows) <= MOST_ARROWS
    assert len(flat) <= MOST_FLAT, sorted(flat)


def test_no_rooms_import_one_another_in_a_circle(arrows: dict[tuple[str, str], list[str]]) -> None:
    left = dict(arrows)
    while free := {end for ends in left for end in ends} - {source for source, _ in left}:
        left = {ends: why for ends, why in left.items() if ends[1] not in free}
    assert left == {}


def floors() -> Iterator[tuple[str, set[str]]]:
    """The floors of the picture, from the top: name and rooms."""
    picture = re.search(r"```mermaid\n(flowchart TB\n.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)
    assert picture, "docs/architecture.md has no picture of the house"
    for name, inside in re.findall(r'subgraph \w+\["([^"]+)"\]\n(.*?)\n  end', picture[1], re.DOTALL):
        yield name, set(re.findall(r"^ +(\w+)\b", inside, re.MULTILINE)) - {"direction"}


def test_the_picture_has_every_room_once(graph: grimp.ImportGraph) -> None:
    drawn = [name for _, inside in floors() for name in sorted(inside)]
    assert sorted(drawn) == sorted(rooms(graph))


def test_in_the_picture_all_imports_run_down(arrows: dict[tuple[str, str], list[str]]) -> None:
    floor_of = {name: floor for floor, (_, inside) in enumerate(floors()) for name in inside}
    up = {ends: why for ends, why in arrows.items() if floor_of[ends[0]] > floor_of[ends[1]]}
    assert up == {}


def test_the_picture_is_drawn_as_the_contracts_say(graph: grimp.ImportGraph) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["dispatcher"]]
    place = {name: layer for layer, names in enumerate(layers) for name in re.split(r"\W+", names)}
    drawn = [name for _, inside in floors() for name in inside if name in place]
    assert set(drawn) == set(place)
    order = [place[name] for _, inside in floors() for name in sorted(inside & place.keys(), key=lambda n: place[n])]
    assert order == sorted(order)


def test_every_module_that_calls_itself_pure_is_held_to_it(graph: grimp.ImportGraph) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (held,) = [contract["source_modules"] for contract in contracts if contract["name"].startswith("Deciding")]
    loose = []
    for path in sorted(ROOT.glob("*/**/*.py")):
        place = path.relative_to(ROOT)
        if place.parts[0] not in {"dispatcher", "workers", "schedules"}:
            continue
        module = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text()
        if "pure" not in text.lower():  # to parse all modules takes a second
            continue
        says_so = re.search(r"\bpure\b", (ast.get_docstring(ast.parse(text)) or ""), re.IGNORECASE)
        if says_so and not any(fnmatch(module, name) or fnmatch(module, f"{name}.*") for name in held):
            loose.append(module)
    assert loose == []
