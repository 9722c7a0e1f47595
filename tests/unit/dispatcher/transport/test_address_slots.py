from dispatcher.transport.address_slots import AddressSlots


def taken(slots: AddressSlots, account: str, address: str = "192.0.2.1") -> int:
    """How many slots the account gets, one after the other."""
    count = 0
    while count < 100 and slots.take(address, account):
        count += 1
    return count


def test_an_account_gets_seven_eighths_of_what_the_others_leave_and_all_together_no_more_than_there_are() -> None:
    slots = AddressSlots(16)
    assert [taken(slots, account) for account in "abcd"] == [14, 1, 1, 0]


def test_each_address_has_its_own_slots() -> None:
    slots = AddressSlots(8)
    assert [taken(slots, "a", address) for address in ("192.0.2.1", "192.0.2.2")] == [7, 7]


def test_a_slot_that_is_given_back_goes_to_any_account() -> None:
    slots = AddressSlots(2)
    assert [taken(slots, account) for account in "ab"] == [1, 1]
    slots.end("192.0.2.1", "a")
    assert [taken(slots, account) for account in "bc"] == [0, 1]
    for account in "bc":
        slots.end("192.0.2.1", account)
    assert taken(slots, "d") == 1


def test_a_single_slot_is_given_to_whoever_comes_and_without_a_bound_all_get_theirs() -> None:
    assert taken(AddressSlots(1), "a") == 1
    assert taken(AddressSlots(), "a") == 100
