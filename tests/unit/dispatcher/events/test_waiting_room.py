"""Where events wait for their group: bounded, and accounts take turns."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import TooBusy
from dispatcher.events import waiting_room
from dispatcher.events.waiting_room import GROUP, GROUP_DELIVERIES, ROOM, ROOM_BYTES, WaitingRoom


@dataclass(eq=False)
class One:
    account: str
    size: int = 100
    expected: int = 1


def room_with(*items: One) -> WaitingRoom[One]:
    room: WaitingRoom[One] = WaitingRoom()
    for item in items:
        room.add(item)
    return room


def taken(room: WaitingRoom[One]) -> list[One]:
    return room.take(lambda one, _: one.expected)


def fill(room: WaitingRoom[One], account: str, **fields: int) -> int:
    """How many of the account find room."""
    count = 0
    while True:
        try:
            room.add(One(account, **fields))
        except TooBusy:
            return count
        count += 1


def test_what_came_first_is_taken_first() -> None:
    items = [One("a") for _ in range(10)]
    room = room_with(*items)
    assert room.first() is items[0]
    assert taken(room) == items
    assert (taken(room), room.first()) == ([], None)


def test_accounts_take_turns() -> None:
    flood, other = [One("flood") for _ in range(5_000 // 4)], One("other")
    room = room_with(*flood, other)
    assert taken(room)[:3] == [flood[0], other, flood[1]]


def test_the_account_that_had_the_last_turn_comes_last_in_the_next_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_room, "GROUP", 3)
    items = [One("a"), One("a"), One("a"), One("b"), One("b"), One("b")]
    room = room_with(*items)
    assert [one.account for one in taken(room)] == ["a", "b", "a"]
    assert [one.account for one in taken(room)] == ["b", "a", "b"]


@pytest.mark.parametrize(
    ("fields", "most"),
    [({}, GROUP), ({"size": 250_000}, 17), ({"expected": GROUP_DELIVERIES // 4}, 4), ({"expected": 10**6}, 1)],
)
def test_a_group_is_bounded_by_number_bytes_and_deliveries(fields: dict[str, int], most: int) -> None:
    items = [One(f"a{number % 100}", **fields) for number in range(100 if fields else 1_500)]
    assert len(taken(room_with(*items))) == most  # the one that goes beyond the limit is the last one


def test_it_is_told_which_are_the_first_of_their_accounts_in_a_group() -> None:
    room, first = room_with(*map(One, "aabcab")), list[tuple[str, bool]]()

    def noted(one: One, is_first: bool) -> int:
        first.append((one.account, is_first))
        return GROUP_DELIVERIES // 5

    room.take(noted)
    assert first == [("a", True), ("b", True), ("c", True), ("a", False), ("b", False)]


def test_an_account_has_half_of_what_the_others_leave_so_one_that_comes_finds_room() -> None:
    room = room_with()
    assert [fill(room, account) for account in "abcde"] == [ROOM // 2, ROOM // 4, ROOM // 8, ROOM // 16, ROOM // 32]


def test_bytes_are_shared_in_the_same_way() -> None:
    room, size = room_with(), 256 * 1024
    assert [fill(room, account, size=size) * size for account in "ab"] == [ROOM_BYTES // 2, ROOM_BYTES // 4]
    assert fill(room, "small", size=100) > 1_000


def test_what_left_makes_room_and_is_not_taken() -> None:
    room = room_with()
    fill(room, "a")
    one = room.first()
    assert one is not None
    assert room.remove(one) is True
    assert room.remove(one) is False
    room.add(One("a"))
    assert one not in taken(room)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=40))
def test_whatever_comes_leaves_once_and_nothing_is_counted_afterwards(steps: list[tuple[str, int]]) -> None:
    room, inside = room_with(), list[One]()
    for account, step in steps:
        if step < 2:
            inside.append(One(account, size=step))
            room.add(inside[-1])
        elif step == 2 and inside:
            assert room.remove(inside.pop(0))
        else:
            assert sorted(map(id, taken(room))) == sorted(map(id, inside))
            inside.clear()
    assert len(taken(room)) == len(inside)
    assert [fill(room, "z"), fill(room, "a")] == [ROOM // 2, ROOM // 4]  # nothing of what left is still counted
