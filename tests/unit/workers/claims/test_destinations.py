from workers.claims.destinations import KEPT, Crowd, Destinations

A, B, C = 1, 2, 3  # accounts
HERE, THERE, ELSEWHERE = -11, -12, 13  # destinations


def test_a_destination_with_little_in_flight_is_in_no_crowd_and_its_room_leaves_an_eighth() -> None:
    destinations = Destinations(80, most_claimed=20)
    destinations.add(HERE, A, 10)
    assert destinations.crowds() == []
    assert destinations.room == 70


def test_in_a_crowd_an_account_may_have_seven_eighths_of_what_the_others_leave() -> None:
    destinations = Destinations(80, most_claimed=20)
    destinations.add(HERE, A, 40)
    destinations.add(HERE, B, 16)
    assert destinations.crowds() == [Crowd([HERE], 24, {A: 16, B: 19}, 21)]


def test_a_full_destination_has_no_room_and_one_that_ended_no_crowd() -> None:
    destinations = Destinations(8, most_claimed=8)
    destinations.add(HERE, A, 7)
    destinations.add(HERE, B, 1)
    assert destinations.crowds() == [Crowd([HERE], 0, {A: 0, B: 0}, 0)]
    destinations.add(HERE, A, -7)
    destinations.add(HERE, B, -1)
    assert destinations.crowds() == []


def test_another_size_holds_at_once_also_where_more_is_in_flight() -> None:
    destinations = Destinations(80, most_claimed=8)
    destinations.add(HERE, A, 40)
    destinations.add(THERE, A, 9)
    assert destinations.crowds() == []
    destinations.resize(40)
    assert sorted(destinations.crowds()) == [Crowd([HERE], 0, {A: 0}, 0)]
    assert (destinations.room, destinations.kept_for_proven) == (35, 2)
    destinations.resize(10)
    assert sorted(destinations.crowds()) == [Crowd([THERE], 1, {A: 0}, 1), Crowd([HERE], 0, {A: 0}, 0)]
    destinations.resize(80)
    assert (destinations.crowds(), destinations.room) == ([], 70)


def test_destinations_at_one_address_are_one_crowd_with_what_both_have_in_flight() -> None:
    destinations = Destinations(80, most_claimed=60)
    destinations.add(HERE, A, 8)
    destinations.add(THERE, A, 8)
    destinations.add(ELSEWHERE, A, 8)
    assert destinations.crowds() == []
    destinations.learn(HERE, "192.0.2.1")
    destinations.learn(THERE, "192.0.2.1")
    destinations.learn(ELSEWHERE, "192.0.2.3")
    assert destinations.crowds() == [Crowd([HERE, THERE], 64, {A: 54}, 56)]
    destinations.add(THERE, A, -8)
    assert destinations.crowds() == []


def test_names_of_one_address_are_a_crowd_though_nothing_is_in_flight_if_one_claim_could_bring_too_much() -> None:
    destinations = Destinations(8, most_claimed=20)
    for destination in (HERE, THERE, ELSEWHERE):
        destinations.add(destination, A, 1)
        destinations.learn(destination, "192.0.2.3" if destination == ELSEWHERE else "192.0.2.1")
        destinations.add(destination, A, -1)
    assert destinations.crowds() == [Crowd([HERE, THERE], 8, {}, 7)]


def test_a_name_that_leads_elsewhere_takes_what_is_in_flight_along() -> None:
    destinations = Destinations(8, most_claimed=8)
    destinations.add(HERE, A, 4)
    destinations.learn(HERE, "192.0.2.1")
    destinations.learn(HERE, "192.0.2.2")
    destinations.add(THERE, B, 1)
    destinations.learn(THERE, "192.0.2.1")
    assert {crowd.destinations[0]: crowd.free for crowd in destinations.crowds()} == {HERE: 4, THERE: 7}
    destinations.add(HERE, A, -4)
    assert [crowd.destinations for crowd in destinations.crowds()] == [[THERE]]


def test_what_more_names_found_to_be_one_address_than_it_has_slots_leaves_no_room() -> None:
    destinations = Destinations(8, most_claimed=8)
    for destination in (HERE, THERE):
        destinations.add(destination, A, 6)
        destinations.learn(destination, "192.0.2.1")
    assert destinations.crowds() == [Crowd([HERE, THERE], 0, {A: 0}, 0)]


def test_what_leads_where_is_remembered_for_many_destinations_and_never_forgotten_while_in_flight() -> None:
    destinations = Destinations(8, most_claimed=8)
    destinations.add(HERE, A, 5)
    destinations.learn(HERE, "192.0.2.1")
    for destination in range(1, KEPT + 100):
        destinations.add(destination, A, 1)
        destinations.learn(destination, "192.0.2.1")
        destinations.add(destination, A, -1)
    (crowd,) = destinations.crowds()
    assert len(crowd.destinations) == KEPT
    assert {HERE, KEPT + 99} <= set(crowd.destinations)
