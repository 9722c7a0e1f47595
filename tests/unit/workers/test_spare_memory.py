"""When a loop gives back the memory of a burst."""

from types import SimpleNamespace

import pytest

from workers import spare_memory
from workers.spare_memory import MANY, REST, SpareMemory


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr(spare_memory, "give_back", lambda: done.append("process"))
    return done


@pytest.fixture
def spare(done: list[str]) -> SpareMemory:
    return SpareMemory(SimpleNamespace(shrink=lambda: done.append("transport")))  # type: ignore[arg-type]


def test_a_loop_that_delivered_many_gives_back_once_it_has_rested(spare: SpareMemory, done: list[str]) -> None:
    spare.rest(MANY, 100.0)
    spare.rest(MANY, 100.0 + REST - 0.1)
    assert done == []
    spare.rest(MANY + 1, 100.0 + REST)  # it did something meanwhile
    spare.rest(MANY + 1, 100.0 + 2 * REST - 0.1)
    assert done == []
    for _ in range(3):
        spare.rest(MANY + 1, 100.0 + 2 * REST)
    assert done == ["transport", "process"]


def test_after_the_next_burst_it_does_so_again(spare: SpareMemory, done: list[str]) -> None:
    for claimed, now in ((MANY, 0.0), (MANY, REST), (2 * MANY - 1, 10.0), (2 * MANY - 1, 20.0)):
        spare.rest(claimed, now)
    assert done == ["transport", "process"]
    for claimed, now in ((2 * MANY, 30.0), (2 * MANY, 40.0)):
        spare.rest(claimed, now)
    assert done == ["transport", "process"] * 2


@pytest.mark.parametrize(("claimed", "given_back"), [(MANY, ["transport", "process"]), (MANY - 1, [])])
def test_one_that_ends_does_not_wait(spare: SpareMemory, done: list[str], claimed: int, given_back: list[str]) -> None:
    spare.end(claimed)
    assert done == given_back
