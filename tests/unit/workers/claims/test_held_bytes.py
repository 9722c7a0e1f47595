from dispatcher.ids import new_id_text
from tests.claims import CLAIM
from workers.claims.claims import Claim
from workers.claims.held_bytes import LEAST, MOST, SMALL, HeldBytes


def message(account_no: int, size: int) -> Claim:
    return CLAIM._replace(delivery_id=new_id_text(), account_no=account_no, data=bytes(size))


def test_what_is_held_is_free_again_once_it_is_removed() -> None:
    held = HeldBytes()
    claims = [message(1, 3_000_000), message(2, 500_000), message(1, 70)]
    held.add(claims)
    assert held.free == MOST - 3_500_070
    held.remove(claims)
    assert (held.free, held.by_account()) == (MOST, {})


def test_an_account_alone_may_hold_nearly_everything() -> None:
    held = HeldBytes()
    held.add([message(1, 1_000_000)])
    assert held.by_account() == {1: MOST - MOST // 8 - 1_000_000}


def test_beside_others_an_account_may_hold_half_of_what_they_leave() -> None:
    held = HeldBytes()
    held.add([message(1, MOST - MOST // 8), message(2, SMALL)])
    assert held.by_account()[1] < 0  # it had everything before the other came
    assert 2 not in held.by_account()  # too little to count: half of what is free
    held.add([message(2, 1_000)])
    assert held.by_account()[2] == MOST // 16 - SMALL - 1_000


def test_accounts_that_took_their_parts_get_no_more_and_leave_some_for_another() -> None:
    held = HeldBytes()
    for account in range(1, 4):
        held.add([message(account, held.free // 2)])
    assert max(held.by_account().values()) <= 0
    assert held.free == MOST // 8


def test_after_refused_allocations_less_is_held_and_more_again_with_what_is_written() -> None:
    held = HeldBytes()
    assert held.shrink()
    assert held.free == MOST // 2
    while held.shrink():
        pass
    assert held.free == LEAST
    claims = [message(1, 40_000)]
    held.add(claims)
    held.remove(claims)
    assert held.free == LEAST + 40_000
    for _ in range(3):
        much = [message(1, MOST)]
        held.add(much)
        held.remove(much)
    assert held.free == MOST


def test_an_attempt_counts_once_however_often_it_is_claimed() -> None:
    held, claim = HeldBytes(), message(1, 70)
    held.add([claim])
    held.add([claim])
    assert (held.free, held.attempts) == (MOST - 70, {claim.attempt})
    for _ in range(2):
        held.remove([claim])
        assert (held.free, held.attempts) == (MOST, set())
