from workers.claims.claims import Claimed
from workers.claims.pace import CALM, LONGEST_POLL, LOOK_AGAIN, PASSING_EVERY, REST, SHORTEST_POLL, Pace

EMPTY = Claimed((), round_done=True, full=False)
MORE = Claimed((), round_done=False, full=False)
FULL = Claimed((), round_done=False, full=True)
PACED = Claimed((), round_done=True, full=False, paced=True)


def after(*claims: tuple[Claimed, int], in_flight: int = 0, waits_long: int = 0, took: float = 0.001) -> Pace:
    pace = Pace()
    for claimed, found in claims:
        pace.claimed(claimed, found, in_flight=in_flight, waits_long=waits_long, took=took, now=100.0)
    return pace


def test_while_more_is_available_the_next_claim_is_made_at_once() -> None:
    assert after((MORE, 5)).next_at == 100


def test_an_empty_claim_of_a_round_that_goes_on_is_followed_by_a_rest_as_long_as_it() -> None:
    assert after((MORE, 0), took=0.2).next_at == 100.2


def test_after_work_was_found_the_next_look_is_soon_and_then_later_and_later() -> None:
    pace = after((EMPTY, 1))
    assert pace.next_at == 100 + SHORTEST_POLL
    waits = []
    for empty_at in (100.1, 100.4, 100.8, 102.0, 500.0):
        pace.claimed(EMPTY, 0, in_flight=0, waits_long=0, took=0.001, now=empty_at)
        waits.append(round(pace.next_at - empty_at, 6))
    assert waits == [SHORTEST_POLL, 0.02, 0.04, LONGEST_POLL, LONGEST_POLL]


def test_a_loop_that_has_found_nothing_yet_looks_rarely() -> None:
    assert after((EMPTY, 0)).next_at == 100 + LONGEST_POLL


def test_a_claim_that_took_long_is_followed_by_a_longer_rest_or_when_half_of_what_is_in_flight_has_ended() -> None:
    for claimed in (EMPTY, FULL):
        pace = after((claimed, 60), in_flight=40, took=0.1)
        assert pace.next_at == 100 + REST * 0.1
        assert [pace.may_claim(in_flight, 100) for in_flight in (50, 49)] == [False, True]
        assert pace.may_claim(50, pace.next_at)


def test_nothing_waits_for_requests_that_will_not_end_soon() -> None:
    pace = after((FULL, 60), in_flight=1_040, waits_long=1_000, took=0.1)
    assert [pace.may_claim(in_flight, 100) for in_flight in (1_050, 1_049)] == [False, True]


def test_after_nothing_was_found_what_is_in_flight_does_not_matter() -> None:
    assert not after((EMPTY, 60), (EMPTY, 0), in_flight=40).may_claim(0, 100)


def test_nothing_is_due_only_after_a_whole_round_found_nothing_and_no_rate_limit_holds_anything() -> None:
    claims = [(EMPTY, 0), (EMPTY, 1), (MORE, 0), (PACED, 0)]
    assert [(after(claim).nothing_due, after(claim).paced) for claim in claims] == [
        (True, False), (False, False), (False, False), (False, True),
    ]  # fmt: skip


def test_while_the_database_is_unavailable_nothing_is_due() -> None:
    pace = after((MORE, 5))
    pace.pause(1.0, 100.0)
    assert (pace.nothing_due, pace.next_at) == (True, 101)


# Of a parked loop

NOTHING = Claimed((), round_done=True, full=False, ready=False)
PASSED_OVER = Claimed((), round_done=True, full=False, ready=True)


def parked(claimed: Claimed, found: int, *, in_flight: int = 0, took: float = 0.001) -> Pace:
    pace = Pace()
    pace.look_every = 5.0
    assert pace.looks_at_passing(100.0)
    pace.claimed(claimed, found, in_flight=in_flight, waits_long=0, took=took, now=100.0)
    return pace


def test_a_parked_loop_looks_rarely_unless_something_in_flight_may_make_room_for_what_was_passed_over() -> None:
    assert [parked(claimed, 0, in_flight=n).next_at for claimed in (NOTHING, PASSED_OVER) for n in (0, 3)] == [
        105.0, 105.0, 105.0, 100 + LONGEST_POLL,
    ]  # fmt: skip


def test_a_parked_loop_that_found_something_looks_again_and_lets_itself_be_told_a_moment_later() -> None:
    pace = parked(EMPTY, 1)
    assert (pace.next_at, pace.calm_at) == (100 + LOOK_AGAIN, 100 + CALM)
    assert (parked(MORE, 1).next_at, parked(PACED, 0).next_at) == (100, 100 + LONGEST_POLL)


def test_a_parked_loop_that_is_told_claims_at_once_but_rests_after_a_claim_that_took_long() -> None:
    for took, next_at in ((0.001, 100.0), (0.1, 100 + REST * 0.1)):
        pace = parked(NOTHING, 0, took=took)
        pace.told(100.0)
        assert (max(100.0, pace.next_at), pace.nothing_due) == (next_at, False)


def test_a_parked_loop_that_is_told_looks_at_open_circuits_too_before_it_waits() -> None:
    pace = parked(NOTHING, 0)
    pace.told(100.5)
    pace.claimed(NOTHING, 0, in_flight=0, waits_long=0, took=0.001, now=100.5)
    assert pace.next_at == 100 + PASSING_EVERY
    assert [pace.looks_at_passing(now) for now in (100.5, 101.0, 101.0)] == [False, True, False]
    pace.claimed(NOTHING, 0, in_flight=0, waits_long=0, took=0.001, now=101.0)
    assert pace.next_at == 106


def test_a_parked_loop_does_not_ask_a_database_that_is_away_again_and_again() -> None:
    pace = parked(NOTHING, 0)
    pace.told(100.0)
    pace.pause(1.0, 100.0)
    assert [pace.may_claim(0, now) for now in (100.9, 101.0)] == [False, True]
