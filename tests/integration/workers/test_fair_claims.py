"""Claims go round accounts and webhooks: what they find, in which order, and when a round is over."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from dispatcher.db.arrays import arrays
from dispatcher.db.new_ids import NEW_ID
from dispatcher.db.prepared import PLANNED_AT
from dispatcher.settings import Settings
from dispatcher.webhooks.contract import DeliveryContract
from tests.installations import worker_for
from tests.integration.workers import claim_by_webhook
from workers.callbacks.batches import batches
from workers.claims.claims import Claim, Claimer
from workers.claims.concurrency import ConcurrencyClass, Room, Rooms
from workers.claims.destinations import Crowd
from workers.results.record import record

KIB = 1024


class Hook(NamedTuple):
    """A webhook with what is ready for it: first attempts, retries, and some that are not due yet."""

    first: int = 0
    retries: int = 0
    later: int = 0
    claimable: str = "yes"  # or: disabled, deleted, open
    batch_size: int = 1
    rate_limit: float | None = None
    size: int = 100
    backfilled: bool = True
    destination: int | None = None


@contextmanager
def stored(
    database: Engine, accounts: Sequence[Sequence[Hook]]
) -> Iterator[tuple[Connection, list[list[str]], list[int]]]:
    """A transaction, undone at the end, with these webhooks by account; their ids, and the accounts' numbers."""
    with database.connect() as connection:
        numbers = list(
            connection.scalars(
                text(
                    "INSERT INTO dispatcher.accounts (id, name) SELECT gen_random_uuid(), 'a' || n"
                    " FROM generate_series(1, :count) n RETURNING number"
                ),
                {"count": len(accounts)},
            )
        )
        ids = [[str(uuid4()) for _ in hooks] for hooks in accounts]
        columns = {
            "id": [webhook for of_account in ids for webhook in of_account],
            "number": [number for number, hooks in zip(numbers, accounts, strict=True) for _ in hooks],
        } | {name: [getattr(hook, name) for hooks in accounts for hook in hooks] for name in Hook._fields}
        connection.execute(_STORE, arrays(columns))
        yield connection, ids, numbers
        connection.rollback()


_STORE = text(f"""
WITH hooks AS MATERIALIZED (
  SELECT a.id AS account_id, h.*
  FROM unnest(CAST(:id AS uuid[]), CAST(:number AS integer[]), CAST(:first AS integer[]), CAST(:retries AS integer[]),
    CAST(:later AS integer[]), CAST(:claimable AS text[]), CAST(:batch_size AS integer[]), CAST(:rate_limit AS float[]),
    CAST(:size AS integer[]), CAST(:backfilled AS boolean[]), CAST(:destination AS bigint[]))
    AS h(id, number, first, retries, later, claimable, batch_size, rate_limit, size, backfilled, destination)
  JOIN dispatcher.accounts a USING (number)),
webhooks AS (
  INSERT INTO dispatcher.webhooks (id, account_id, account_no, url_masked, event_types, contract, retry_span,
    batch_size, rate_limit, enabled, deleted_at, destination)
  SELECT id, account_id, CASE WHEN backfilled THEN number ELSE 0 END, 'http://r/', '{{}}', '{{}}', interval '1 day',
    batch_size, rate_limit, claimable <> 'disabled', CASE WHEN claimable = 'deleted' THEN now() END,
    destination
  FROM hooks),
circuits AS (
  INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since, opened_at, trial_at)
  SELECT id, 9, now(), now(), now() FROM hooks WHERE claimable = 'open'),
rates AS (
  INSERT INTO dispatcher.rates (webhook_id, used_until)
  SELECT id, now() - interval '1 hour' FROM hooks WHERE rate_limit IS NOT NULL),
messages AS MATERIALIZED (
  SELECT {NEW_ID} AS event_id, h.*, n FROM hooks h, generate_series(1, first + retries + later) n),
events AS (
  INSERT INTO dispatcher.events (id, account_id, type, occurred_at, delivery_count, data)
  SELECT event_id, account_id, 't', now(), 1, convert_to(repeat('x', size), 'UTF8') FROM messages)
INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, account_no, size, state, due_at, give_up_at, schedule_step)
SELECT gen_random_uuid(), event_id, id, CASE WHEN backfilled THEN number ELSE 0 END,
  CASE WHEN backfilled THEN size ELSE 0 END, 'ready',
  now() + CASE WHEN n > first + retries THEN interval '1 hour' ELSE interval '-1 second' * n END,
  now() + interval '1 day', CASE WHEN n > first THEN 1 ELSE 0 END
FROM messages
""")


def until_empty(claimer: Claimer, connection: Connection, rooms: Rooms, limit: int, **bounds: Any) -> list[list[Claim]]:
    """All claims up to the end of a round that found nothing."""
    claims: list[list[Claim]] = []
    claimer.start_round()
    for _ in range(3_000):
        claimed = claimer.claim(connection, rooms, limit, **bounds)
        claims.append(list(claimed.claims))
        if claimed.round_done and not claimed.claims:
            return claims
    raise AssertionError("the rounds do not end")


HOOKS = st.builds(
    Hook,
    first=st.integers(0, 6),
    retries=st.integers(0, 4),
    later=st.integers(0, 2),
    claimable=st.sampled_from(["yes", "yes", "yes", "disabled", "deleted", "open"]),
    batch_size=st.sampled_from([1, 1, 4]),
    rate_limit=st.sampled_from([None, None, 20.0]),
    size=st.sampled_from([10, 3_000, 300 * KIB]),
    backfilled=st.booleans(),
    destination=st.sampled_from([None, 1, 2, -3]),
)


@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    accounts=st.lists(st.lists(HOOKS, max_size=6), max_size=4),
    steps=st.sampled_from([2, 5, 100]),
    limit=st.integers(2, 30),
    first=st.integers(1, 5),
    account_room=st.sampled_from([1, 3, 1_000]),
    limit_bytes=st.sampled_from([700 * KIB, 5_000 * KIB]),
    without_room=st.sets(st.integers(0, 23), max_size=4),
    destination_room=st.sampled_from([2, 1_000]),
)
def test_claims_find_what_claims_by_webhook_found_each_once(
    database: Engine, accounts: list[list[Hook]], steps: int, limit: int, first: int, account_room: int,
    limit_bytes: int, without_room: set[int], destination_room: int,
) -> None:  # fmt: skip
    with (
        pytest.MonkeyPatch.context() as patch,
        stored(database, accounts) as (connection, ids, _),
    ):
        patch.setattr("workers.claims.claims.SCAN_STEPS", steps)
        patch.setattr("workers.claims.claims.MAX_SCAN_STEPS", 4 * steps)
        connection.exec_driver_sql("SAVEPOINT stored")
        every = [webhook for of_account in ids for webhook in of_account]
        none = [Room(every[place], 0, ConcurrencyClass.PROVEN) for place in without_room if place < len(every)]
        rooms = Rooms(none, first=first)
        crowd = Crowd([-3, 4], free=3, accounts={}, account_room=2)
        bounded = Rooms(
            none, first=first, account_room=account_room,
            crowds=[crowd], destination_room=destination_room, kept_for_proven=1,
        )  # fmt: skip
        fair = until_empty(Claimer(), connection, bounded, limit, limit_bytes=limit_bytes)
        connection.exec_driver_sql("ROLLBACK TO stored")
        by_webhook = claim_by_webhook.claim_until_empty(connection, rooms, limit)
    found = [claim for claims in fair for claim in claims]
    assert len({claim.delivery_id for claim in found}) == len(found)
    # Of a webhook with a rate, chance decides whether a first attempt or a retry is taken.
    paced = {
        each
        for of, hooks in zip(ids, accounts, strict=True)
        for each, hook in zip(of, hooks, strict=True)
        if hook.rate_limit
    }
    assert {c.delivery_id for c in found if c.webhook_id not in paced} == {
        row.id for row in by_webhook if row.webhook_id not in paced
    }
    assert Counter(c.webhook_id for c in found) == Counter(row.webhook_id for row in by_webhook)
    webhooks = len(every)
    assert len(fair) <= 2 * len(found) + 4 * (webhooks + 2)


@pytest.mark.parametrize(("account_room", "limit"), [(1_000, 10), (3, 10), (2, 100)])
@pytest.mark.parametrize("steps", [100, 7])
def test_accounts_take_turns_and_within_each_its_webhooks(
    database: Engine, monkeypatch: pytest.MonkeyPatch, steps: int, account_room: int, limit: int
) -> None:
    monkeypatch.setattr("workers.claims.claims.SCAN_STEPS", steps)
    accounts = [[Hook(first=20)] * count for count in (9, 30, 11, 16)]
    with stored(database, accounts) as (connection, ids, _):
        claimer, served = Claimer(), Counter[str]()
        for _ in range(20):
            claims = claimer.claim(connection, Rooms(first=1, account_room=account_room), limit).claims
            served.update(claim.webhook_id for claim in claims)
    of_accounts = [[served[webhook] for webhook in webhooks] for webhooks in ids]
    for counts in of_accounts:
        assert max(counts) - min(counts) <= 1, of_accounts
    totals = [sum(counts) for counts in of_accounts]
    assert max(totals) - min(totals) <= 1
    assert sum(totals) == 20 * min(limit, steps, 4 * account_room)


def test_more_accounts_than_a_claim_visits_are_served_evenly_and_so_are_their_webhooks(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.claims.claims.SCAN_STEPS", 10)
    with stored(database, [[Hook(first=10)] * 5] * 23) as (connection, ids, _):
        claimer, served = Claimer(), Counter[str]()
        for _ in range(23):
            served.update(claim.webhook_id for claim in claimer.claim(connection, Rooms(first=1), 10).claims)
    assert {served[webhook] for webhooks in ids for webhook in webhooks} == {2}


@pytest.mark.parametrize("claimable", ["disabled", "open"])
def test_many_unclaimable_webhooks_of_one_account_cost_the_others_nothing(database: Engine, claimable: str) -> None:
    unclaimable = [Hook(first=1, claimable=claimable)] * 400
    others = [[Hook(first=9)] for _ in range(40)]
    with stored(database, [unclaimable, *others]) as (connection, ids, _):
        claimer = Claimer()
        for _ in range(2):
            claims = claimer.claim(connection, Rooms(), 200).claims
            assert Counter(claim.webhook_id for claim in claims) == {webhooks[0]: 4 for webhooks in ids[1:]}


def test_a_round_over_thousands_of_unclaimable_webhooks_takes_few_claims(database: Engine) -> None:
    hooks = [Hook(first=1, claimable="disabled")] * 3_000 + [Hook(first=1)]
    with stored(database, [hooks, [Hook(first=1, claimable="open")] * 10]) as (connection, _, _):
        claims = until_empty(Claimer(), connection, Rooms(), 200)
    assert sum(len(found) for found in claims) == 1
    assert len(claims) <= 14  # 100 webhooks, 200, 400 and so on: 61 with the same steps always


@pytest.mark.parametrize("concurrency_class", [ConcurrencyClass.PROVEN, ConcurrencyClass.SLOW])
def test_webhooks_that_are_known_to_have_no_room_cost_the_others_no_step(
    database: Engine, monkeypatch: pytest.MonkeyPatch, concurrency_class: ConcurrencyClass
) -> None:
    monkeypatch.setattr("workers.claims.claims.SCAN_STEPS", 10)
    with stored(database, [[Hook(first=5)] * 40]) as (connection, (webhooks,), _):
        webhooks.sort()
        full = concurrency_class is ConcurrencyClass.PROVEN
        busy = [Room(webhook, 0 if full else 3, concurrency_class) for webhook in webhooks[:35]]
        rooms = Rooms(busy, first=1, classes={ConcurrencyClass.SLOW: 0})
        claimed = Claimer().claim(connection, rooms, 200)
    assert {claim.webhook_id for claim in claimed.claims} == set(webhooks[35:])
    assert claimed.round_done


def test_an_account_without_room_is_passed_in_one_step_and_goes_on_where_it_was(database: Engine) -> None:
    with stored(database, [[Hook(first=3)] * 150, [Hook(first=3)] * 5]) as (connection, ids, numbers):
        claimer = Claimer()
        first = claimer.claim(connection, Rooms(first=1), 200)
        assert not first.round_done
        for _ in range(3):
            claimed = claimer.claim(connection, Rooms(first=1, accounts={numbers[0]: 0}), 200)
            assert claimed.round_done
            assert {claim.account_no for claim in claimed.claims} <= {numbers[1]}
        then = claimer.claim(connection, Rooms(first=1), 200)
    visited = [{claim.webhook_id for claim in claimed.claims} & set(ids[0]) for claimed in (first, then)]
    assert len(visited[0] | visited[1]) == 150


def test_a_round_ends_though_what_it_passed_is_gone(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.claims.claims.SCAN_STEPS", 4)
    monkeypatch.setattr("workers.claims.claims.MAX_SCAN_STEPS", 4)
    with stored(database, [[Hook(first=1, claimable="disabled")] * 5] * 6) as (connection, ids, _):
        claimer = Claimer()
        for _ in range(3):
            assert not claimer.claim(connection, Rooms(), 10).round_done
        connection.execute(
            text("UPDATE dispatcher.deliveries SET state = 'cancelled' WHERE webhook_id = ANY(:ids)"),
            {"ids": [UUID(webhook) for webhooks in ids[1:5] for webhook in webhooks]},
        )
        assert True in [claimer.claim(connection, Rooms(), 10).round_done for _ in range(6)]


def test_a_round_passes_all_accounts_also_when_it_knows_their_places(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.claims.claims.SCAN_STEPS", 2)
    monkeypatch.setattr("workers.claims.claims.MAX_SCAN_STEPS", 2)
    with stored(database, [[Hook(first=1, claimable="disabled")]] * 7) as (connection, ids, _):
        claimer = Claimer()
        assert until_empty(claimer, connection, Rooms(), 10)[-1] == []
        for (webhook,) in ids:
            connection.execute(
                text("UPDATE dispatcher.webhooks SET enabled = true WHERE id = :id"), {"id": UUID(webhook)}
            )
            claims = until_empty(claimer, connection, Rooms(), 10)
            assert [claim.webhook_id for found in claims for claim in found] == [webhook]


def test_what_an_account_has_no_room_for_uses_up_no_room_of_its_class(database: Engine) -> None:
    with stored(database, [[Hook(first=4, size=250 * KIB)]] * 3) as (connection, _, numbers):
        rooms = Rooms(classes={ConcurrencyClass.NEW: 6})
        bounds = dict.fromkeys(numbers, 500 * KIB)
        claims = Claimer().claim(connection, rooms, 200, account_bytes=bounds).claims
    assert Counter(claim.account_no for claim in claims) == dict.fromkeys(numbers, 2)


@pytest.mark.parametrize(("free", "expected"), [(128, 128), (10, 10), (0, 0)])
def test_of_many_webhooks_at_one_destination_as_many_are_claimed_as_it_has_room_for_and_others_go_on(
    database: Engine, free: int, expected: int
) -> None:
    crowded = [Hook(first=2, destination=-7)] * 90
    with stored(database, [[*crowded, Hook(first=2, destination=8)], [Hook(first=2)]]) as (connection, ids, _):
        crowd = Crowd([9, -7], free, {}, free)
        claims = Claimer().claim(connection, Rooms(crowds=[crowd]), 200).claims
    served = Counter(claim.webhook_id for claim in claims)
    assert served.pop(ids[0][-1]) == served.pop(ids[1][0]) == 2
    assert served.total() == expected


def test_a_destination_is_shared_by_account_and_its_room_does_not_depend_on_the_webhooks(database: Engine) -> None:
    with stored(database, [[Hook(first=3, destination=7)] * 20] * 3) as (connection, _, numbers):
        crowd = Crowd([7], 24, {numbers[0]: 2}, 15)
        first = Claimer().claim(connection, Rooms(crowds=[crowd]), 200).claims
    counts = Counter(claim.account_no for claim in first)
    assert counts.total() == 24
    assert counts[numbers[0]] == 2
    assert max(counts.values()) <= 15


def test_a_destination_that_is_in_no_crowd_has_its_usual_room_and_an_unknown_one_all(database: Engine) -> None:
    hooks = [Hook(first=3, destination=destination) for destination in (7, 7, 7, 8, None, None)]
    with stored(database, [hooks]) as (connection, (webhooks,), _):
        claims = Claimer().claim(connection, Rooms(destination_room=4), 200).claims
    counts = Counter(webhooks.index(claim.webhook_id) for claim in claims)
    assert counts[0] + counts[1] + counts[2] == 4
    assert [counts[place] for place in (3, 4, 5)] == [3, 3, 3]


def test_webhooks_that_have_not_proven_to_answer_leave_some_of_a_destination_to_those_that_have(
    database: Engine,
) -> None:
    with stored(database, [[Hook(first=9, destination=7)] * 9]) as (connection, (webhooks,), _):
        proven = Room(webhooks[-1], 9, ConcurrencyClass.PROVEN)
        rooms = Rooms([proven], crowds=[Crowd([7], 10, {}, 10)], kept_for_proven=4)
        claimer = Claimer()
        first = claimer.claim(connection, rooms, 200).claims
        rooms = Rooms([proven], crowds=[Crowd([7], 4, {}, 4)], kept_for_proven=4)
        then = claimer.claim(connection, rooms, 200).claims
    assert sum(claim.webhook_id != webhooks[-1] for claim in first) <= 6 <= len(first) <= 10
    assert [claim.webhook_id for claim in then] == [webhooks[-1]] * 4


def test_what_a_destination_has_no_room_for_uses_up_no_room_of_its_class(database: Engine) -> None:
    hooks = [Hook(first=4, destination=7)] * 2 + [Hook(first=4, destination=8)]
    with stored(database, [hooks]) as (connection, (webhooks,), _):
        rooms = Rooms(classes={ConcurrencyClass.NEW: 6}, crowds=[Crowd([7], 2, {}, 2)])
        claims = Claimer().claim(connection, rooms, 200).claims
    counts = Counter(claim.webhook_id for claim in claims)
    assert counts[webhooks[2]] == 4
    assert counts.total() == 6


def test_no_trial_is_made_at_a_destination_without_room(database: Engine) -> None:
    hooks = [Hook(first=1, claimable="open", destination=destination) for destination in (7, 8, None)]
    with stored(database, [hooks]) as (connection, (webhooks,), _):
        rooms = Rooms(crowds=[Crowd([7], 4, {}, 4), Crowd([8], 5, {}, 5)], kept_for_proven=4)
        trials = Claimer().claim_passing(connection, rooms, 10)
    assert {claim.webhook_id for claim in trials} == {webhooks[1], webhooks[2]}


def test_of_trials_too_an_account_has_no_more_than_its_cap_leaves(database: Engine) -> None:
    hooks = [Hook(first=1, claimable="open")] * 4
    with stored(database, [hooks] * 3) as (connection, _, numbers):
        rooms = Rooms(capped={numbers[0]: 3, numbers[1]: 0}, capped_room=1)
        trials = Claimer().claim_passing(connection, rooms, 100)
        rest = Claimer().claim_passing(connection, Rooms(), 100)
    assert Counter(claim.account_no for claim in trials) == {numbers[0]: 3, numbers[2]: 1}
    assert Counter(claim.account_no for claim in rest) == {numbers[0]: 1, numbers[1]: 4, numbers[2]: 3}


def test_an_account_without_room_does_not_use_up_the_trials_of_others(database: Engine) -> None:
    hooks = [Hook(first=1, claimable="open")] * 4
    with stored(database, [hooks] * 2) as (connection, _, numbers):
        rooms = Rooms(capped={numbers[0]: 0})
        trials = Claimer().claim_passing(connection, rooms, 4)
    assert Counter(claim.account_no for claim in trials) == {numbers[1]: 4}


def test_deliveries_of_older_versions_are_served_like_those_of_one_account(database: Engine) -> None:
    old = [[Hook(first=5, backfilled=False)] * 2] * 3
    with stored(database, [*old, [Hook(first=20)]]) as (connection, _, numbers):
        claims = Claimer().claim(connection, Rooms(first=2), 100).claims
    assert Counter(claim.account_no for claim in claims) == {0: 12, numbers[3]: 2}


def test_a_trial_is_made_with_what_an_older_version_stored_and_with_what_this_one_did(database: Engine) -> None:
    hooks = [Hook(first=1, claimable="open"), Hook(retries=1, claimable="open")]
    with stored(database, [hooks]) as (connection, (webhooks,), (number,)):
        connection.execute(
            text("UPDATE dispatcher.deliveries SET account_no = 0 WHERE webhook_id = :id"), {"id": UUID(webhooks[0])}
        )
        trials = Claimer().claim_passing(connection, Rooms(), 10)
    assert {(claim.webhook_id, claim.account_no) for claim in trials} == {(webhooks[0], 0), (webhooks[1], number)}


def test_a_claim_brings_no_more_bytes_than_it_may_and_an_account_no_more_than_its_part(database: Engine) -> None:
    large = [Hook(first=10, size=250 * KIB)] * 4
    with stored(database, [large, [Hook(first=4, size=KIB)] * 3]) as (connection, _, numbers):
        claimer = Claimer()
        both = claimer.claim(connection, Rooms(first=10), 200, limit_bytes=2_000 * KIB)
        bounded = claimer.claim(
            connection, Rooms(first=10), 200, limit_bytes=4_000 * KIB, account_bytes={numbers[0]: 700 * KIB}
        )
        none = claimer.claim(connection, Rooms(first=10), 200, account_bytes={numbers[0]: 0})
    brought = [Counter(claim.account_no for claim in claimed.claims) for claimed in (both, bounded, none)]
    assert [counts[numbers[0]] for counts in brought] == [4, 2, 0]
    assert brought[0][numbers[1]] == 12


def test_of_what_an_account_may_have_one_claim_takes_a_part_but_always_the_first_message(database: Engine) -> None:
    accounts = [
        [Hook(first=5, size=200 * KIB)] * 2,
        [Hook(first=3, size=900 * KIB)],
        [Hook(first=2, size=2_200 * KIB)],
        [Hook(first=9, size=100 * KIB, batch_size=100)],
    ]
    with stored(database, accounts) as (connection, _, numbers):
        bounds = {numbers[1]: 2_000 * KIB, numbers[2]: 2_048 * KIB}
        claims = Claimer().claim(connection, Rooms(), 200, account_bytes=bounds, bytes_at_once=512 * KIB).claims
        # Less than what one that goes alone needs.
        none = Claimer().claim(connection, Rooms(), 200, account_bytes={numbers[2]: 2_000 * KIB}).claims
    assert Counter(claim.account_no for claim in claims) == dict(zip(numbers, (2, 1, 1, 5), strict=True))
    assert numbers[2] not in {claim.account_no for claim in none}


@pytest.mark.parametrize("backfilled", [True, False])
def test_a_message_that_is_larger_than_all_bounds_goes_alone_and_the_others_go_on(
    database: Engine, backfilled: bool
) -> None:
    accounts = [[Hook(first=2, size=3 * KIB * KIB, backfilled=backfilled)], [Hook(first=3)]]
    with stored(database, accounts) as (connection, _, _):
        claims = until_empty(Claimer(), connection, Rooms(), 200)
    assert sorted(len(claim.data) for found in claims for claim in found) == [100] * 3 + [3 * KIB * KIB] * 2
    assert all(sum(len(claim.data) > KIB for claim in found) <= 1 for found in claims)


@pytest.mark.parametrize("allowed", [64 * KIB, 400 * KIB])
def test_in_little_memory_a_large_message_goes_alone_if_nothing_else_is_held(database: Engine, allowed: int) -> None:
    with stored(database, [[Hook(first=3, size=300 * KIB)]]) as (connection, _, _):
        beside = Claimer().claim(connection, Rooms(), 200, limit_bytes=30 * KIB, allowed_bytes=allowed).claims
        alone = Claimer().claim(connection, Rooms(), 200, limit_bytes=allowed, allowed_bytes=allowed).claims
    assert (len(beside), len(alone)) == (0, 1)


def test_a_batch_is_cut_to_the_bytes_that_its_account_may_have(database: Engine) -> None:
    with stored(database, [[Hook(first=8, size=100 * KIB, batch_size=100)]]) as (connection, _, _):
        claims = Claimer().claim(connection, Rooms(), 200, limit_bytes=700 * KIB).claims
    assert len(claims) == 3


@pytest.mark.parametrize(
    ("sizes", "released_at_most"),
    [
        ([250 * KIB], 0.05),
        ([1_000], 0.05),
        ([400 * KIB], 0.05),
        ([100, 250 * KIB, 60 * KIB, 5_000], 0.25),
        ([250 * KIB, 100, 100, 100, 100], 0.25),
        ([200 * KIB, 330 * KIB, 90 * KIB], 0.25),
    ],
)
def test_a_claim_takes_about_as_many_messages_as_fit_into_the_requests(
    database: Engine, sizes: list[int], released_at_most: float
) -> None:
    contract = DeliveryContract(batch_size=100)
    with stored(database, [[Hook(first=60, batch_size=100)]] * 3) as (connection, _, _):
        rows = connection.execute(text("SELECT id, event_id FROM dispatcher.deliveries")).all()
        of_sizes = random.Random(1).choices(sizes, k=len(rows))
        connection.execute(
            text("""
            WITH given AS (
              SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:events AS uuid[]), CAST(:sizes AS integer[]))
              AS g(id, event, size)),
            events AS (UPDATE dispatcher.events e SET data = convert_to(repeat('x', g.size), 'UTF8')
                       FROM given g WHERE e.id = g.event)
            UPDATE dispatcher.deliveries d SET size = g.size FROM given g WHERE d.id = g.id"""),
            {"ids": [row.id for row in rows], "events": [row.event_id for row in rows], "sizes": of_sizes},
        )
        taken = released = 0
        claimer = Claimer()
        while claims := claimer.claim(connection, Rooms(first=2), 200).claims:
            for _, of_one in groupby(claims, key=attrgetter("webhook_id")):
                made = list(batches(list(of_one), contract))
                taken += sum(map(len, made))
                released += sum(map(len, made[2:]))
    assert taken == 180
    assert released <= released_at_most * taken


def test_a_loops_connection_plans_claims_and_records_once(database: Engine, settings: Settings) -> None:
    claimer = Claimer()
    with worker_for(settings).loop_engine.connect() as connection:
        for limit in range(1, 8):
            claimer.claim(connection, Rooms(), limit)
            claimer.claim_passing(connection, Rooms(), limit)
            record(connection, [])
        statements = ["dispatcher_claim", "dispatcher_claim_passing", "dispatcher_record"]
        plans = connection.execute(  # the connection may be one that a loop used before
            text(
                "SELECT name, custom_plans FROM pg_prepared_statements WHERE generic_plans > 6 AND name = ANY(:names)"
            ),
            {"names": statements},
        )
        assert {row.name: row.custom_plans for row in plans} == dict.fromkeys(statements, 0)


def test_a_plan_from_empty_tables_does_not_last(database: Engine, settings: Settings) -> None:
    engine = worker_for(settings).loop_engine
    with database.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE dispatcher.webhooks, dispatcher.deliveries, dispatcher.events")
    claimer = Claimer()
    with engine.connect() as connection:
        connection.info.clear()
        connection.exec_driver_sql("DEALLOCATE ALL")
        claimer.claim(connection, Rooms(), 100)
        connection.commit()
    with stored(engine, [[Hook(first=1)] * 1_500]) as (connection, _, _):
        connection.info[PLANNED_AT] -= 1  # a second later
        before = _entries_read(connection)
        assert len(claimer.claim(connection, Rooms(), 100).claims) == 100
        assert _entries_read(connection) - before < 1_500


def _entries_read(connection: Connection) -> int:
    """Of the indexes of webhooks, by this transaction."""
    return int(
        connection.exec_driver_sql(
            "SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index"
            " WHERE indrelid = 'dispatcher.webhooks'::regclass"
        ).scalar_one()
    )
