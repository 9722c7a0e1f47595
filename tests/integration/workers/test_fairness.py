import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from dispatcher import Event, enqueue_many
from dispatcher.db.heartbeat import DELIVERS, Heartbeat
from dispatcher.errors import InvalidWebhook
from dispatcher.settings import Settings
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.port import Transport
from dispatcher.transport.threaded.transport import RequestsTransport
from tests.behaviours import final
from tests.factories import MESSAGE, RECEIVED, change, deliver_all, deliveries, make_webhook, rows
from tests.installations import worker_for
from tests.integration.workers.parked import parked_loops, until
from tests.receiver import Receiver
from workers import loop as loop_module
from workers.claims.claims import ROUND, SCAN_STEPS, Claimed, Claimer
from workers.claims.concurrency import ConcurrencyClass, Room, Rooms
from workers.claims.webhook_limit import FIRST_LIMIT
from workers.loop import DeliveryLoop


def store(count: int, **fields: Any) -> None:
    list(enqueue_many(Event(**{"type": RECEIVED, "data": MESSAGE, "account": "acme", **fields}) for _ in range(count)))


def unbounded(*webhooks: Any) -> Rooms:
    return Rooms([Room(str(webhook.id), 10_000, ConcurrencyClass.PROVEN) for webhook in webhooks])


def test_first_attempts_and_late_retries_of_a_webhook_take_turns(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/")
    store(500)
    change(database, "UPDATE dispatcher.deliveries SET schedule_step = 3, due_at = now() - interval '1 hour'")
    store(500)
    claimer = Claimer()

    def kinds(room: int) -> list[int]:
        rooms = Rooms([Room(str(webhook.id), room, ConcurrencyClass.PROVEN)])
        return sorted(claim.schedule_step for claim in claimer.claim(connection, rooms, 200).claims)

    with database.begin() as connection:
        assert kinds(40) == [0] * 20 + [3] * 20
        assert {kinds(1)[0] for _ in range(40)} == {0, 3}  # by chance


def test_first_attempts_and_retries_are_both_made_where_the_rate_allows_one_at_a_time(
    database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/", contract={"rate_limit": 0.1})
    store(50)
    change(database, "UPDATE dispatcher.deliveries SET schedule_step = 3, due_at = now() - interval '1 hour'")
    store(50)
    claimer, steps = Claimer(), []
    with database.begin() as connection:
        for _ in range(40):
            connection.exec_driver_sql("UPDATE dispatcher.rates SET used_until = now() - interval '1 hour'")
            steps += [claim.schedule_step for claim in claimer.claim(connection, Rooms(), 200).claims]
    assert len(steps) == 40
    assert set(steps) == {0, 3}  # by chance


def test_either_kind_has_all_of_the_room_while_the_other_has_nothing_due(database: Engine, settings: Settings) -> None:
    webhook = make_webhook(database, settings, url="http://127.0.0.1:9/")
    store(30)
    with database.begin() as connection:
        assert (
            len(Claimer().claim(connection, Rooms([Room(str(webhook.id), 20, ConcurrencyClass.PROVEN)]), 200).claims)
            == 20
        )
    change(database, "UPDATE dispatcher.deliveries SET schedule_step = 1")
    with database.begin() as connection:
        assert (
            len(Claimer().claim(connection, Rooms([Room(str(webhook.id), 20, ConcurrencyClass.PROVEN)]), 200).claims)
            == 10
        )


def test_with_many_due_a_large_backlog_gets_no_more_of_a_round_than_the_others(
    database: Engine, settings: Settings
) -> None:
    webhooks = [make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["all"]) for _ in range(9)]
    big = make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["all", "big"])
    store(150, type="all")
    store(2_000, type="big")
    claimer, served = Claimer(), Counter[Any]()
    with database.begin() as connection:
        claimer.claim(connection, unbounded(*webhooks, big), 1)  # now it knows how many are due
        for _ in range(5):
            served.update(
                claim.webhook_id for claim in claimer.claim(connection, unbounded(*webhooks, big), 200).claims
            )
    assert served[str(big.id)] == ROUND // 10
    assert {served[str(webhook.id)] for webhook in webhooks} == {ROUND // 10}


def test_a_claim_reads_no_more_beside_a_large_backlog_and_many_finished_deliveries(
    database: Engine, settings: Settings
) -> None:
    def entries_read() -> int:
        """Index entries that a claim reads; the claim is taken back."""
        with worker_for(settings).loop_engine.connect() as connection:
            before = _entries_read(connection)
            assert len(Claimer().claim(connection, Rooms(), 20).claims) == 20
            read = _entries_read(connection) - before
            connection.rollback()
        return read

    for _ in range(5):
        make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["few"])
    store(10, type="few")
    alone = entries_read()
    make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["many"])
    store(20_000, type="many")
    change(
        database,
        "UPDATE dispatcher.deliveries SET state = 'delivered', finished_at = now() WHERE id IN"
        " (SELECT d.id FROM dispatcher.deliveries d JOIN dispatcher.events e ON e.id = d.event_id"
        "  WHERE e.type = 'many' LIMIT 10000)",
    )
    with database.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE dispatcher.deliveries")
    assert entries_read() < 2 * alone


def _entries_read(connection: Connection) -> int:
    """Of the indexes of deliveries, by this transaction."""
    return int(
        connection.exec_driver_sql(
            "SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index"
            " WHERE indrelid = 'dispatcher.deliveries'::regclass"
        ).scalar_one()
    )


def test_a_tenth_of_webhooks_that_hang_costs_the_others_nothing_but_slots(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    hold = receiver.gate()
    receiver.script("/hang", (hold, final(200)))
    hanging = set()
    for place in range(40):
        path = "/hang" if place % 10 == 0 else f"/hook/{place}"
        webhook = make_webhook(database, settings, url=receiver.url(path))
        hanging |= {webhook.id} if path == "/hang" else set()
    store(10)
    loop = threading.Thread(target=deliver_all, args=(settings.model_copy(update={"max_in_flight": 32}),))
    loop.start()
    try:
        receiver.wait_until(lambda seen: sum(callback.path != "/hang" for callback in seen) == 360)
        held = [row for row in deliveries(database) if row.webhook_id in hanging and row.state == "claimed"]
        assert 4 <= len(held) <= 4 * FIRST_LIMIT
    finally:
        hold.open()
        loop.join(30)
    assert {row.state for row in deliveries(database)} == {"delivered"}


def test_a_proven_webhook_that_begins_to_hang_leaves_slots_to_steady_traffic_of_another(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    hold = receiver.gate()
    big = make_webhook(database, settings, url=receiver.url("/big"), event_types=["big"])
    make_webhook(database, settings, url=receiver.url("/steady"), event_types=["steady"])
    make_webhook(database, settings, url=receiver.url("/slow"), event_types=["slow"])
    context = worker_for(settings.model_copy(update={"max_in_flight": 16}))
    for _ in range(100):  # it has answered quickly so far
        context.concurrency_limits.sent(str(big.id), 0, 0, destination=1)
        context.concurrency_limits.ended(str(big.id), failed=False, duration=timedelta(0), now=0)
    (known,) = context.concurrency_limits.rooms(time.monotonic()).known
    assert known.free == 14
    for path in ("/big", "/slow"):
        receiver.script(path, (hold, final(200)))
    store(1, type="slow")  # keeps the loop from ending
    store(1, type="steady")
    loop = threading.Thread(target=DeliveryLoop(context).run)
    loop.start()
    try:
        receiver.wait_for(1, path="/steady")
        store(40, type="big")
        for count in range(2, 22):
            store(1, type="steady")
            receiver.wait_for(count, path="/steady", timeout=5)
        receiver.wait_for(4, path="/big")
        assert len(receiver.at("/big")) <= 8
    finally:
        hold.open()
        loop.join(30)
        context.drop_transport()
    assert {row.state for row in deliveries(database)} == {"delivered"}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released at each claim of a loop."""
    claims = threading.Semaphore(0)

    class Watched(Claimer):
        def claim(self, *arguments: Any, **options: Any) -> Claimed:
            claims.release()
            return super().claim(*arguments, **options)

    monkeypatch.setattr("workers.loop.Claimer", Watched)
    return claims


def await_claims(looks: threading.Semaphore) -> None:
    """Waits until the loop has claimed a few times more: it has sent all that it may."""
    while looks.acquire(blocking=False):
        pass
    for _ in range(4):
        assert looks.acquire(timeout=10)


def test_one_destination_gets_no_more_at_once_than_it_may_and_nothing_is_claimed_to_be_released(
    database: Engine, settings: Settings, receiver: Receiver, looks: threading.Semaphore
) -> None:
    hold = receiver.gate()
    for place in range(10):
        receiver.script(f"/{place}", (hold, final(200)))
        make_webhook(database, settings, url=receiver.url(f"/{place}"))
    store(3)
    counts: list[dict[str, int]] = []
    few = settings.model_copy(update={"max_per_destination": 32})
    loop = threading.Thread(target=lambda: counts.append(deliver_all(few)))
    loop.start()
    try:
        receiver.wait_for(26)  # an eighth is for other accounts, a sixteenth for webhooks that have answered
        await_claims(looks)
        assert len(receiver.received) == 26
    finally:
        hold.open()
        loop.join(30)
    assert [(count["claimed"], count["delivered"]) for count in counts] == [(30, 30)]


def test_processes_that_deliver_share_what_a_destination_gets_while_they_live(
    database: Engine, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = receiver.gate()
    for place in range(20):
        receiver.script(f"/{place}", (hold, final(200)))
        make_webhook(database, settings, url=receiver.url(f"/{place}"))
    others = [Heartbeat() for _ in range(3)]
    engine = worker_for(settings).loop_engine
    for other in others:
        other.beat(engine, DELIVERS, "parked")
    monkeypatch.setattr(loop_module, "SLICE", 0.05)
    few = settings.model_copy(update={"max_per_destination": 128})
    try:
        with parked_loops(monkeypatch, few) as (loop,):

            def most_in_flight() -> int:
                """After a heartbeat, and when the loop has nothing to claim any more."""
                loop.loop._heartbeat.due_at = 0.0
                until(lambda: loop.loop._heartbeat.due_at > monotonic() + 2)
                before = loop.claims
                until(lambda: loop.claims > before + 4)
                return len(loop.loop._in_flight)

            store(10)
            receiver.wait_for(26)
            assert most_in_flight() == 26, "of a quarter, 32, an eighth is for others, a sixteenth for proven ones"
            others.pop().leave(engine)
            others.pop().leave(engine)
            assert most_in_flight() == 52, "of a half"
            others.pop().leave(engine)
            assert most_in_flight() == 80, "as many as twenty new webhooks may have"
            hold.open()
    finally:
        hold.open()


@pytest.mark.parametrize("transport", [CurlTransport, RequestsTransport])
def test_many_names_of_one_address_share_its_slots_and_a_name_is_claimed_in_vain_once(
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    looks: threading.Semaphore,
    transport: Callable[..., Transport],
) -> None:
    hold = receiver.gate()
    names = [f"name{number}.example" for number in range(20)]
    for name in names:
        receiver.script(f"/{name}", (hold, final(200)))
        make_webhook(database, settings, url=f"http://{name}:{receiver.port}/{name}")
    store(4)
    context = worker_for(settings.model_copy(update={"max_per_destination": 8}))

    def resolve(_: str, port: int, **options: Any) -> Any:
        return socket.getaddrinfo("127.0.0.1", port, **options)

    context.transport = transport(capacity=64, per_address=8, addresses=settings.addresses, resolve=resolve)
    counts: list[dict[str, int]] = []
    loop = threading.Thread(target=lambda: counts.append(DeliveryLoop(context).run()))
    loop.start()
    try:
        receiver.wait_for(7)
        await_claims(looks)
        assert len(receiver.received) == 7
    finally:
        hold.open()
        loop.join(30)
        context.drop_transport()
    ((claimed, delivered),) = [(count["claimed"], count["delivered"]) for count in counts]
    assert delivered == 80
    assert claimed <= 80 + FIRST_LIMIT * len(names)


def test_a_rate_limit_holds_over_all_loops_together(database: Engine, settings: Settings, receiver: Receiver) -> None:
    make_webhook(database, settings, url=receiver.url("/paced"), contract={"rate_limit": 50})
    make_webhook(database, settings, url=receiver.url("/free"))
    store(100)
    began = time.monotonic()
    loops = [threading.Thread(target=deliver_all, args=(settings,)) for _ in range(3)]
    for loop in loops:
        loop.start()
    receiver.wait_for(100, path="/free")
    free = time.monotonic() - began
    for loop in loops:
        loop.join(60)
    took = time.monotonic() - began
    assert len(receiver.at("/paced")) == 100
    assert took >= (100 - 5) / 50 - 0.1  # a bucket of a tenth of a second, then 50 a second
    assert free < took
    assert {row.state for row in deliveries(database)} == {"delivered"}


def test_a_paced_webhook_is_served_without_another_wake(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/paced"), contract={"rate_limit": 10})
    store(5)
    assert deliver_all(settings)["delivered"] == 5


@pytest.mark.parametrize("rate", [0, -1, 200_000, "NaN"])
def test_a_rate_limit_is_a_sensible_number(database: Engine, settings: Settings, rate: Any) -> None:
    with pytest.raises(InvalidWebhook, match="rate_limit"):
        make_webhook(database, settings, url="http://127.0.0.1:9/", contract={"rate_limit": rate})


def test_unused_pace_does_not_add_up_to_a_burst(database: Engine, settings: Settings) -> None:
    make_webhook(database, settings, url="http://127.0.0.1:9/", contract={"rate_limit": 100})
    store(150)
    change(database, "UPDATE dispatcher.rates SET used_until = now() - interval '1 hour'")
    claimer = Claimer()
    with database.begin() as connection:
        claimed = claimer.claim(connection, Rooms(first=1_000), 200)
        assert len(claimed.claims) == 10
        again = claimer.claim(connection, Rooms(first=1_000), 200)
    assert (len(again.claims), again.paced) == (0, True)
    (rate,) = rows(database, "SELECT used_until - now() AS ahead FROM dispatcher.rates")
    assert rate.ahead <= timedelta(0)


def test_a_round_over_more_webhooks_than_one_claim_visits_serves_each_of_them(
    database: Engine, settings: Settings
) -> None:
    count = SCAN_STEPS + 20
    for _ in range(count):
        make_webhook(database, settings, url="http://127.0.0.1:9/")
    store(3)
    claimer, served = Claimer(), Counter[Any]()
    with database.begin() as connection:
        while claims := claimer.claim(connection, Rooms(first=1), 50).claims:
            served.update(claim.webhook_id for claim in claims)
    assert set(served.values()) == {3}
    assert len(served) == count


def test_untried_webhooks_without_room_do_not_use_up_the_claim_of_proven_ones(
    database: Engine, settings: Settings
) -> None:
    for _ in range(30):
        make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["new"])
    proven = make_webhook(database, settings, url="http://127.0.0.1:9/", event_types=["proven"])
    store(1, type="new")
    store(5, type="proven")
    rooms = Rooms(
        [Room(str(proven.id), 5, ConcurrencyClass.PROVEN)],
        classes={ConcurrencyClass.NEW: 0, ConcurrencyClass.FAILING: 0},
    )
    with database.begin() as connection:
        claimed = Claimer().claim(connection, rooms, 16)
    assert {claim.webhook_id for claim in claimed.claims} == {str(proven.id)}
    assert (len(claimed.claims), claimed.full, claimed.round_done) == (5, False, True)


def test_one_claim_brings_no_more_messages_than_fit_and_the_next_ones_bring_the_others(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.claims.claims.MAX_MESSAGES", 50)
    for _ in range(5):
        make_webhook(database, settings, url="http://127.0.0.1:9/", contract={"batch_size": 100})
    store(20)
    claimer = Claimer()
    with database.begin() as connection:
        claimed = [claimer.claim(connection, Rooms(), 200) for _ in range(4)]
    assert [len(one.claims) for one in claimed] == [40, 40, 20, 0]
    assert [one.full for one in claimed] == [True, True, False, False]
