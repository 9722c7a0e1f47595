"""Accounts take turns for a few slots, and none takes them all."""

from dispatcher.accounts.fair_turns import FairTurns, Turn

A, B, C = Turn("a"), Turn("b"), Turn("c")


def asked(slots: int, **counts: int) -> FairTurns[str]:
    turns: FairTurns[str] = FairTurns(slots)
    for account, count in counts.items():
        add(turns, Turn(account), count)
    return turns


def add(turns: FairTurns[str], turn: Turn, count: int) -> None:
    for number in range(count):
        turns.wait(turn, f"{turn.account}{number}")


def begun(turns: FairTurns[str]) -> list[str]:
    """What begins now, in order."""
    found = []
    while (given := turns.take()) is not None:
        found.append(given[1])
    return found


def test_600_of_one_account_leave_a_slot_to_the_next_that_comes() -> None:
    turns = asked(64, a=600)
    assert begun(turns) == [f"a{number}" for number in range(56)]
    add(turns, B, 1)
    assert begun(turns) == ["b0"]
    add(turns, C, 1)
    assert begun(turns) == ["c0"]


def test_one_account_is_served_in_its_order_and_accounts_in_turn() -> None:
    assert begun(asked(16, a=100, b=2, c=2))[:7] == ["a0", "b0", "c0", "a1", "b1", "c1", "a2"]


def test_an_account_keeps_its_place_in_the_round_however_much_it_waits_for() -> None:
    turns = asked(1, a=10, b=10)
    order = []
    for _ in range(6):
        given = turns.take()
        assert given is not None
        order.append(given[1])
        turns.end(given[0])
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_two_that_always_have_something_waiting_come_to_have_the_same() -> None:
    turns = asked(64, a=600)
    held = {"a": len(begun(turns)), "b": 0}
    add(turns, B, 600)
    for _ in range(100):  # the one with most ends one each time
        for item in begun(turns):
            held[item[0]] += 1
        most = max(held, key=held.__getitem__)
        turns.end(Turn(most))
        held[most] -= 1
    assert sum(held.values()) >= 58
    assert abs(held["a"] - held["b"]) <= 2


def test_however_many_accounts_come_each_gets_one_and_no_slot_is_given_twice() -> None:
    turns = asked(8, **dict.fromkeys("abcdefghij", 5))
    assert len(begun(turns)) == 8
    assert begun(turns) == []
    turns.end(A)
    assert begun(turns) == ["i0"]


def test_the_only_slot_there_is_can_be_taken() -> None:
    assert begun(asked(1, a=2)) == ["a0"]


def test_what_is_doubtful_comes_last_and_has_half_of_what_its_account_may_have() -> None:
    turns = asked(16)
    add(turns, Turn("a", doubtful=True), 20)
    assert len(begun(turns)) == 7  # of 14
    add(turns, A, 3)
    add(turns, Turn("b", doubtful=True), 1)
    assert begun(turns) == ["a0", "b0", "a1", "a2"]


def test_who_left_is_not_served() -> None:
    turns = asked(8, a=3)
    turns.leave(A, "a0")
    turns.leave(A, "a0")
    turns.leave(B, "b0")
    assert begun(turns) == ["a1", "a2"]
