from datetime import timedelta
from uuid import uuid4

from workers.claims.concurrency import ENOUGH, KEPT, UNBOUNDED, ConcurrencyClass, ConcurrencyLimits, Room
from workers.claims.webhook_limit import FIRST_LIMIT


def new() -> str:
    """The id of a webhook."""
    return str(uuid4())


ACCOUNT, OTHER_ACCOUNT = 1, 2
DESTINATION = -7_654_321
QUICK, SLOW = timedelta(milliseconds=5), timedelta(seconds=20)


def room_of(limits: ConcurrencyLimits, webhook: str, account_no: int, now: float) -> int:
    """How many more requests this webhook may have, as a claim finds out."""
    rooms = limits.rooms(now)
    known = next((room for room in rooms.known if room.webhook_id == webhook), None)
    if known is not None:
        return known.free
    account = rooms.accounts.get(account_no, rooms.account_room), rooms.lasting.get(account_no, rooms.lasting_room)
    return min(rooms.first, rooms.classes[ConcurrencyClass.NEW], *account)


def send(
    limits: ConcurrencyLimits, webhook: str, times: int = 1, *, account_no: int = ACCOUNT, now: float = 0.0
) -> None:
    for _ in range(times):
        limits.sent(webhook, account_no, now, DESTINATION)


def answer(
    limits: ConcurrencyLimits,
    webhook: str,
    times: int = 1,
    *,
    failed: bool = False,
    after: timedelta = QUICK,
    account_no: int = ACCOUNT,
    now: float = 0.0,
) -> None:
    for _ in range(times):
        limits.sent(webhook, account_no, now, DESTINATION)
        limits.ended(webhook, failed=failed, duration=after, now=now)


def test_a_webhook_begins_with_the_first_limit() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    assert room_of(limits, webhook, ACCOUNT, 0) == FIRST_LIMIT
    send(limits, webhook)
    assert room_of(limits, webhook, ACCOUNT, 0) == FIRST_LIMIT - 1
    assert limits.rooms(0).known == [Room(webhook, FIRST_LIMIT - 1, ConcurrencyClass.NEW)]


def test_quick_answers_double_the_window_up_to_all_slots_but_the_reserve() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook, 1 + FIRST_LIMIT)
    assert room_of(limits, webhook, ACCOUNT, 0) == 2 * FIRST_LIMIT
    answer(limits, webhook, 1_000)
    assert room_of(limits, webhook, ACCOUNT, 0) == 56


def test_slow_answers_double_it_up_to_half_of_the_slots() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook, 1 + FIRST_LIMIT, after=SLOW)
    assert room_of(limits, webhook, ACCOUNT, 0) == 2 * FIRST_LIMIT
    answer(limits, webhook, 1_000, after=SLOW)
    assert limits.rooms(0).known == [Room(webhook, 32, ConcurrencyClass.SLOW)]


def test_as_many_answers_as_it_allows_that_take_longer_than_usual_halve_it_down_to_the_first_limit() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    usual, late = timedelta(seconds=3), timedelta(seconds=5)
    answer(limits, webhook, 1 + FIRST_LIMIT + 2 * FIRST_LIMIT, after=usual)
    assert room_of(limits, webhook, ACCOUNT, 0) == 16
    send(limits, webhook, FIRST_LIMIT)  # what is usual is learnt while little is in flight
    answer(limits, webhook, 15, after=late)
    assert room_of(limits, webhook, ACCOUNT, 0) == 16 - FIRST_LIMIT
    answer(limits, webhook, 1, after=late)
    assert room_of(limits, webhook, ACCOUNT, 0) == 8 - FIRST_LIMIT
    answer(limits, webhook, 1_000, after=late)
    limits.taken_back(webhook)
    assert room_of(limits, webhook, ACCOUNT, 0) == 1


def test_a_slow_receiver_is_stalled_when_it_is_silent_for_twice_as_long_as_its_answers_take() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook, 10, after=timedelta(seconds=3))
    send(limits, webhook, now=10.0)
    send(limits, new(), now=15.0)
    assert room_of(limits, webhook, ACCOUNT, 15.9) > 0
    assert room_of(limits, webhook, ACCOUNT, 16.1) == 0


def test_a_slow_receiver_that_becomes_quick_is_proven_again() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook, 10, after=timedelta(seconds=3))
    answer(limits, webhook, 10)
    (room,) = limits.rooms(0).known
    assert room.concurrency_class is ConcurrencyClass.PROVEN


def test_while_others_are_served_one_greedy_webhook_has_half_of_the_slots_and_two_have_a_third_each() -> None:
    limits, one, other = ConcurrencyLimits(60), new(), new()
    for webhook in (one, other):
        answer(limits, webhook, 1_000)
    assert room_of(limits, one, ACCOUNT, 10) == 60 - 7
    answer(limits, other)
    assert room_of(limits, one, ACCOUNT, 0) == 30  # in one claim, too
    while room_of(limits, one, ACCOUNT, 0):
        send(limits, one)
    assert limits.in_flight == 30
    answer(limits, other, 1_000)
    while room_of(limits, other, ACCOUNT, 0):
        send(limits, other)
    assert limits.in_flight == 45  # what is free bounds each
    assert room_of(limits, new(), ACCOUNT, 0) == FIRST_LIMIT


def test_a_webhook_that_stops_answering_gets_nothing_more_while_others_are_served() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook, 1_000)
    send(limits, new(), now=10.0)
    send(limits, webhook, 3, now=10.0)
    assert room_of(limits, webhook, ACCOUNT, 10.9) > 0
    assert room_of(limits, webhook, ACCOUNT, 11.1) == 0
    limits.ended(webhook, failed=False, duration=QUICK, now=11.2)
    assert room_of(limits, webhook, ACCOUNT, 11.3) > 0
    assert room_of(limits, webhook, ACCOUNT, 99.0) > 0  # alone again


def test_a_failure_leaves_a_window_of_one_and_a_success_opens_it_again() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook, 1_000)
    answer(limits, webhook, failed=True)
    assert room_of(limits, webhook, ACCOUNT, 0) == 1
    answer(limits, webhook)
    assert room_of(limits, webhook, ACCOUNT, 0) == FIRST_LIMIT


def test_webhooks_that_fail_have_half_of_the_slots_together() -> None:
    limits = ConcurrencyLimits(8)
    failing = [new() for _ in range(20)]
    for webhook in failing:
        answer(limits, webhook, failed=True)
    taken = 0
    for webhook in failing:
        if room_of(limits, webhook, ACCOUNT, 0):
            send(limits, webhook)
            taken += 1
    assert taken == 4
    assert limits.class_room(ConcurrencyClass.FAILING, 0) == 1  # the reserve
    limits.ended(failing[0], failed=False, duration=QUICK, now=0)
    assert sum(room_of(limits, webhook, ACCOUNT, 0) > 0 for webhook in failing[4:]) == 16


def test_however_many_untried_webhooks_hang_a_quarter_of_the_slots_is_left_to_those_that_answer_and_to_others() -> None:
    limits, healthy = ConcurrencyLimits(64), new()
    answer(limits, healthy)
    for _ in range(1_000):
        untried = new()
        if room_of(limits, untried, ACCOUNT, 0):
            send(limits, untried)
    assert limits.in_flight == 48
    rooms = limits.rooms(0)
    assert rooms.accounts == {ACCOUNT: 8}
    assert rooms.lasting == {ACCOUNT: 0}
    assert (rooms.account_room, rooms.lasting_room) == (8, 4)  # of another account
    assert room_of(limits, healthy, ACCOUNT, 0) == FIRST_LIMIT


def test_where_many_webhooks_are_known_the_next_ones_begin_with_one_request() -> None:
    limits = ConcurrencyLimits(800)
    for _ in range(33):
        assert limits.rooms(0).first == FIRST_LIMIT
        answer(limits, new())
    assert limits.rooms(0).first == 1
    assert room_of(limits, new(), ACCOUNT, 0) == 1


def test_requests_to_slow_failing_and_silent_webhooks_are_not_expected_to_end_soon() -> None:
    limits, slow, failing, silent, quick = ConcurrencyLimits(800), new(), new(), new(), new()
    answer(limits, slow, 2, after=SLOW, now=0)
    answer(limits, failing, failed=True, now=0)
    send(limits, silent, 4, now=0)
    for webhook, count in ((slow, 3), (failing, 1), (quick, 2)):
        send(limits, webhook, count, now=0.5)
    assert [limits.rooms(now).waits_long for now in (0.9, 1.1, 1.6)] == [4, 8, 10]


def test_however_many_hang_others_are_forgotten_as_fast_as_they_come() -> None:
    limits = ConcurrencyLimits(3_000)
    for _ in range(900):
        send(limits, new())
    for _ in range(2_000):
        answer(limits, new())
    assert len(limits.rooms(0).known) <= KEPT + 900 // 3


def test_counts_stay_right_when_a_webhook_turns_failing_with_requests_in_flight() -> None:
    limits, webhook, other = ConcurrencyLimits(8), new(), new()
    send(limits, webhook, 4)
    limits.ended(webhook, failed=True, duration=SLOW, now=0)  # three of its requests are still in flight
    answer(limits, other, failed=True)
    assert room_of(limits, other, ACCOUNT, 0) == 1
    send(limits, other)
    third = new()
    answer(limits, third, failed=True)
    assert room_of(limits, third, ACCOUNT, 0) == 0
    assert limits.in_flight == 4


def test_webhooks_not_used_for_long_are_forgotten_but_not_what_is_in_flight() -> None:
    limits, hanging = ConcurrencyLimits(64), new()
    send(limits, hanging)
    for _ in range(2 * KEPT):
        answer(limits, new())
    known = limits.rooms(0).known
    assert len(known) <= KEPT + 2
    assert hanging in {room.webhook_id for room in known}
    limits.ended(hanging, failed=False, duration=SLOW, now=0)
    assert limits.in_flight == 0


def test_windows_do_not_grow_while_answers_wait_for_the_loop() -> None:
    limits, webhook = ConcurrencyLimits(10 * ENOUGH), new()
    answer(limits, webhook, 10_000, after=timedelta(seconds=0.1))
    own, late = timedelta(seconds=0.15), timedelta(seconds=0.4)
    other = new()
    answer(limits, other, after=own)
    send(limits, webhook, ENOUGH, now=10.0)
    limits.seen(ENOUGH // 2 - 1, 10.0)
    answer(limits, other, FIRST_LIMIT, after=late, now=14.9)
    assert room_of(limits, other, ACCOUNT, 20.0) == 2 * FIRST_LIMIT  # fewer than half of them ended at once
    limits.seen(ENOUGH // 2, 10.0)
    answer(limits, other, 100, after=late, now=14.9)
    assert room_of(limits, other, ACCOUNT, 20.0) == 2 * FIRST_LIMIT
    for _ in range(ENOUGH):
        limits.ended(webhook, failed=False, duration=own, now=14.9)
    answer(limits, other, 2 * FIRST_LIMIT, after=own, now=14.9)  # its own time, not the loop's
    assert room_of(limits, other, ACCOUNT, 20.0) == 4 * FIRST_LIMIT
    answer(limits, other, 4 * FIRST_LIMIT, after=late, now=15.1)
    assert room_of(limits, other, ACCOUNT, 20.0) == 8 * FIRST_LIMIT


def test_an_account_alone_leaves_an_eighth_of_the_slots_to_others() -> None:
    limits = ConcurrencyLimits(64)
    webhooks = [new() for _ in range(20)]
    for webhook in webhooks:
        answer(limits, webhook, 5)
        send(limits, webhook, room_of(limits, webhook, ACCOUNT, 0))
    rooms = limits.rooms(0)
    assert limits.in_flight == 56
    assert (rooms.accounts[ACCOUNT], rooms.account_room) == (0, 4)
    assert rooms.classes[ConcurrencyClass.PROVEN] == 8


def test_beside_another_account_one_has_half_of_what_the_other_leaves() -> None:
    limits = ConcurrencyLimits(64)
    for account_no in (ACCOUNT, OTHER_ACCOUNT):
        webhooks = [new() for _ in range(4)]
        for webhook in webhooks:
            answer(limits, webhook, 100, account_no=account_no)
        send(limits, webhooks[0], 20, account_no=account_no)
    assert limits.rooms(1.9).accounts == {ACCOUNT: 2, OTHER_ACCOUNT: 2}
    assert limits.rooms(2.0).accounts == {ACCOUNT: 16, OTHER_ACCOUNT: 16}  # nobody was sent anything lately


def test_what_hangs_of_one_account_leaves_room_to_another_also_after_a_while() -> None:
    limits = ConcurrencyLimits(64)
    for _ in range(100):
        untried = new()
        send(limits, untried, room_of(limits, untried, ACCOUNT, 0))
    assert limits.in_flight == 48
    assert room_of(limits, new(), OTHER_ACCOUNT, 0) == 1
    assert room_of(limits, new(), OTHER_ACCOUNT, 25) == 1
    assert limits.rooms(25).lasting_room == 4


def test_the_next_new_webhook_of_any_account_finds_room_unless_its_account_has_none() -> None:
    limits = ConcurrencyLimits(64)
    assert limits.has_room(0)
    send(limits, new(), 47)
    assert limits.has_room(0)
    send(limits, new())
    assert not limits.has_room(0)


def test_a_row_without_its_accounts_number_counts_as_another_account_until_the_next_one_has_it() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    send(limits, webhook, 2, account_no=0)
    assert 0 in limits.rooms(0).accounts
    send(limits, webhook)
    assert set(limits.rooms(0).accounts) == {ACCOUNT}
    assert limits.in_flight == 3


def test_an_account_alone_has_all_but_the_reserve_also_when_nothing_of_it_is_in_flight() -> None:
    limits, webhook = ConcurrencyLimits(64), new()
    answer(limits, webhook)
    assert limits.rooms(1).accounts == {ACCOUNT: 56}
    assert limits.rooms(1).account_room == 32


def test_one_claim_brings_little_for_an_account_while_others_are_served() -> None:
    limits = ConcurrencyLimits(1_500)
    send(limits, new(), now=0)
    alone = limits.rooms(0)
    assert (alone.accounts[ACCOUNT], alone.lasting[ACCOUNT]) == (1_500 - 187 - 1, 1_125 - 1)
    send(limits, new(), account_no=OTHER_ACCOUNT, now=1)
    both = limits.rooms(1)
    assert set(both.accounts.values()) | {both.account_room} == {200}
    assert set(both.lasting.values()) | {both.lasting_room} == {32}


def test_accounts_are_served_side_by_side_while_two_were_sent_something_lately() -> None:
    limits = ConcurrencyLimits(64)
    send(limits, new(), now=0)
    assert not limits.is_shared(0)
    send(limits, new(), account_no=OTHER_ACCOUNT, now=1)
    assert [limits.is_shared(now) for now in (1, 1.9, 2.1)] == [True, True, False]


def test_while_quick_webhooks_are_served_one_claim_brings_few_for_slow_ones() -> None:
    limits, quick, slow = ConcurrencyLimits(1_500), new(), new()
    answer(limits, slow, 2, after=SLOW)
    assert limits.rooms(3).classes[ConcurrencyClass.SLOW] > 400
    answer(limits, quick, 2, now=3)
    assert limits.rooms(3).classes[ConcurrencyClass.SLOW] == 1_500 // 32
    assert limits.rooms(6).classes[ConcurrencyClass.SLOW] > 400


def test_slow_webhooks_have_equal_shares_of_a_quarter_of_the_slots_while_quick_ones_are_served() -> None:
    limits, quick = ConcurrencyLimits(64), new()
    slow = [new() for _ in range(5)]
    for webhook in slow:
        answer(limits, webhook, 1_000, after=SLOW)
        send(limits, webhook)
    assert room_of(limits, slow[0], ACCOUNT, 1) == 40 // 6 - 1
    assert limits.rooms(1).classes[ConcurrencyClass.SLOW] == 32 - 5
    answer(limits, quick, 2, now=1)
    assert room_of(limits, slow[0], ACCOUNT, 1) == 24 // 6 - 1
    assert limits.rooms(1).classes[ConcurrencyClass.SLOW] == FIRST_LIMIT  # in one claim
    assert limits.rooms(3).classes[ConcurrencyClass.SLOW] == 32 - 5


def test_a_slow_limit_grows_also_while_answers_wait_for_the_loop() -> None:
    limits, webhook, busy = ConcurrencyLimits(10 * ENOUGH), new(), new()
    answer(limits, webhook, after=timedelta(seconds=3))
    send(limits, busy, 2 * ENOUGH, now=10.0)
    limits.seen(ENOUGH, 10.0)
    answer(limits, webhook, FIRST_LIMIT, after=timedelta(seconds=3), now=11.0)
    assert room_of(limits, webhook, ACCOUNT, 11.0) == 2 * FIRST_LIMIT


# Caps of accounts


def test_an_account_has_no_more_in_flight_than_its_cap_over_all_its_webhooks() -> None:
    limits, one, another = ConcurrencyLimits(640), new(), new()
    limits.cap_accounts(10, {})
    send(limits, one, 3)
    send(limits, another, 4)
    assert room_of(limits, new(), ACCOUNT, 0) == 3
    send(limits, another, 3)
    assert [room_of(limits, webhook, ACCOUNT, 0) for webhook in (one, another, new())] == [0, 0, 0]
    assert room_of(limits, new(), OTHER_ACCOUNT, 0) == FIRST_LIMIT
    limits.ended(one, failed=False, duration=QUICK, now=0)
    assert room_of(limits, new(), ACCOUNT, 0) == 1


def test_an_account_with_a_cap_of_its_own_has_that_from_its_first_request_on() -> None:
    limits = ConcurrencyLimits(640)
    limits.cap_accounts(UNBOUNDED, {OTHER_ACCOUNT: 2})
    assert room_of(limits, new(), OTHER_ACCOUNT, 0) == 2
    assert room_of(limits, new(), ACCOUNT, 0) == FIRST_LIMIT
    assert limits.rooms(0).capped == {OTHER_ACCOUNT: 2}
    limits.cap_accounts(1, {OTHER_ACCOUNT: 1_000})
    assert room_of(limits, new(), ACCOUNT, 0) == 1
    send(limits, new(), 4, account_no=OTHER_ACCOUNT)
    assert room_of(limits, new(), OTHER_ACCOUNT, 0) == FIRST_LIMIT


def test_a_lower_cap_lets_what_is_in_flight_end() -> None:
    limits, webhook = ConcurrencyLimits(640), new()
    send(limits, webhook, 4)
    limits.cap_accounts(UNBOUNDED, {ACCOUNT: 2})
    assert (room_of(limits, webhook, ACCOUNT, 0), limits.rooms(0).capped[ACCOUNT]) == (0, 0)


def test_what_passes_open_circuits_leaves_less_room_for_the_rest() -> None:
    limits = ConcurrencyLimits(640)
    assert limits.rooms(0).without([ACCOUNT] * 3) == limits.rooms(0)
    limits.cap_accounts(UNBOUNDED, {ACCOUNT: 5})
    left = limits.rooms(0).without([ACCOUNT, OTHER_ACCOUNT, ACCOUNT, ACCOUNT])
    assert (left.accounts[ACCOUNT], left.lasting[ACCOUNT]) == (2, 2)
