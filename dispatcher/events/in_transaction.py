"""Stores an event in a transaction of the caller's. What is run is decided once, for all drivers. The connection must
be on the engine's database, which is looked up once for each connection, or engine of SQLAlchemy."""

import asyncio
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias, cast

from sqlalchemy.exc import SQLAlchemyError

from dispatcher.db.outages import LACKS_PARTITION, explain_outage, sqlstate_of
from dispatcher.db.prepared import Prepared
from dispatcher.errors import Unavailable, WrongDatabase
from dispatcher.events.after_commit import Wake
from dispatcher.events.async_groups import async_groups_of
from dispatcher.events.callers import AsyncByPsycopg, Caller, Rows, async_caller_of, caller_of
from dispatcher.events.groups import needs_wake
from dispatcher.events.storing import STORE, CheckedEvent, Receipt, columns_of, receipts_of, rules_of
from dispatcher.producer import Producer

# What is to be run next. It gets the rows, and returns what became of the event.
Steps: TypeAlias = Generator[tuple[Prepared, Mapping[str, Any]], Rows, Receipt]

# Asks catalogs that anybody may read: an error would end the caller's transaction.
_PRESENT = Prepared(
    "dispatcher_present",
    """
SELECT count(DISTINCT p.proname) = 2,
  bool_and(has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE'))
FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid
WHERE n.nspname = 'dispatcher' AND p.proname IN ('store_v1', 'installation_id_v1')
""",
    {},
)
_INSTALLATION = Prepared(
    "dispatcher_installation", "SELECT CAST(dispatcher.installation_id_v1() AS text) AS installation", {}
)
_CHECK_FAILED = "23514"  # the only check of what `STORE` writes is that a partition takes it


def store_in(connection: object, item: CheckedEvent, producer: Producer, wake: Wake | None = None) -> Receipt:
    """Stores an event in the transaction of a connection, after whose commit `wake` is called; default: the producer's.
    Raises InvalidEvent, WrongDatabase, Unavailable, and what the driver raises."""
    caller = caller_of(connection)
    steps = _storing(item, producer, caller.identity)
    rows: Any = None
    while True:
        try:
            statement, parameters = steps.send(rows)
        except StopIteration as done:
            return _woken(done.value, caller, wake or producer.waker.wake)
        with _explained():
            rows = caller.run(statement, parameters)


async def store_in_async(connection: object, item: CheckedEvent, producer: Producer) -> Receipt:
    """The same for asyncio."""
    caller, wake = async_caller_of(connection), async_groups_of(producer).wakes.soon
    await asyncio.to_thread(_installation_of, producer)
    if not isinstance(caller, AsyncByPsycopg):
        return cast(Receipt, await caller(store_in, item, producer, wake))
    steps = _storing(item, producer, caller.identity)
    rows: Any = None
    while True:
        try:
            statement, parameters = steps.send(rows)
        except StopIteration as done:
            return _woken(done.value, caller, wake)
        with _explained():
            rows = await caller.run_async(statement, parameters)


def _storing(item: CheckedEvent, producer: Producer, identity: object) -> Steps:
    if identity not in producer.known_callers:
        ours = _installation_of(producer)
        ((present, allowed),) = yield _PRESENT, {}
        if present and not allowed:
            raise Unavailable(
                "the user of the connection given is no member of the role for producers, which `dispatcher roles` "
                "shows: the event was not stored"
            )
        ((theirs,),) = (yield _INSTALLATION, {}) if present else [(None,)]
        if theirs != ours:
            raise WrongDatabase(
                "the connection given is not on the engine's database (DATABASE_URL): "
                "pass one that is, or call without it after your commit"
            )
        producer.known_callers.add(identity)
    rules = rules_of(producer.settings, utf8=False)
    while True:
        asked, columns = producer.clock.own(), columns_of([item], rules, producer.clock)
        rows = yield STORE, columns
        (receipt,) = receipts_of([item], rows, producer.clock, asked)
        if receipt is not None:
            return receipt


def _woken(receipt: Receipt, caller: Caller | AsyncByPsycopg, wake: Wake) -> Receipt:
    if needs_wake(receipt):
        caller.wake_after_commit(wake)
    return receipt


def _installation_of(producer: Producer) -> str:
    """What the engine's database says of itself. Raises Unavailable."""
    if producer.installation_id is None:
        try:
            with producer.statements.connect() as connection:
                producer.installation_id = str(connection.scalar(_INSTALLATION.text))
        except SQLAlchemyError as error:
            why = explain_outage(error) or "the database fails"
            raise Unavailable(f"{why}: the event was not stored") from error
    return producer.installation_id


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if sqlstate_of(error) == _CHECK_FAILED:
            raise Unavailable(f"not stored: {LACKS_PARTITION}") from error
        raise
