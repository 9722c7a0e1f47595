"""Which types an event that no webhook takes was probably meant to have. They are looked up after the event is stored,
outside its transaction: an event with deliveries costs nothing more. Results are kept for a second, so that a stream of
events that no webhook takes costs next to nothing either. Nor does one in which each event has another type: comparing
takes milliseconds in which no other thread of the process goes on, so an account has few types compared in a second."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeGuard
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.event_types import misspelt_types, nearest_types
from dispatcher.events.event import Accepted, Event, Refused
from dispatcher.producer import Producer

LOOKED_AT, COMPARED = 2_000, 100  # subscriptions of an account; those of them that the event's app can have
MAX_KINDS = 5  # different kinds among events that were stored together
MAX_NEW = 10  # kinds of an account whose results are not kept yet, in a second
KEPT_SECONDS = 1.0
MAX_KEPT = 1_000

_Kind: TypeAlias = tuple[str, str | None, str]  # account, app, type

_SUBSCRIBED = text("SELECT dispatcher.subscribed_types_v1(:account, :app, :looked_at, :compared)")
_KNOWN = text("""
SELECT DISTINCT s.event_type FROM dispatcher.subscriptions s JOIN dispatcher.accounts a ON a.id = s.account_id
WHERE a.name = :account AND s.webhook_id IS DISTINCT FROM CAST(:webhook AS uuid)
ORDER BY s.event_type LIMIT :looked_at
""")


def with_nearest_types(
    events: Sequence[Event], receipts: Sequence[Accepted | Refused], producer: Producer
) -> list[Accepted | Refused]:
    """The receipts of committed events, with `nearest_types` in those without a delivery; only the first 5 different
    types have them, of an account 10 in a second. If the database fails now, none has any: the events are stored
    anyway."""
    pairs = list(zip(events, receipts, strict=True))
    missed = dict.fromkeys(_kind(event) for event, receipt in pairs if _is_missed(receipt))
    if not missed:
        return list(receipts)
    nearest = _nearest(list(missed)[:MAX_KINDS], producer)
    return [
        replace(receipt, nearest_types=nearest.get(_kind(event), ())) if _is_missed(receipt) else receipt
        for event, receipt in pairs
    ]


def nearest_types_of(event: Event, producer: Producer) -> tuple[str, ...]:
    """The same for one committed event without deliveries."""
    return _nearest([_kind(event)], producer).get(_kind(event), ())


def nearest_types_in(connection: Connection, account: str, app: str | None, event_type: str) -> tuple[str, ...]:
    """The same as it is now, on a connection of the caller's. Raises what the database raises."""
    subscribed = _subscribed(connection, account, app)
    return nearest_types(event_type, subscribed) if subscribed else ()


def misspelt_types_of(
    event_types: Iterable[str], account: str, producer: Producer, *, webhook: UUID | None = None
) -> dict[str, tuple[str, ...]]:
    """The types that are probably misspelt, each with what was meant: types of the catalogue, and those that the
    account's webhooks take, except this webhook's own. Empty if the database fails."""
    given = {"account": account, "webhook": webhook, "looked_at": LOOKED_AT}
    try:
        with producer.statements.connect() as connection:
            known = connection.scalars(_KNOWN, given).all()
    except SQLAlchemyError:
        return {}
    return {name: meant for name in event_types if (meant := misspelt_types(name, known))}


def _kind(event: Event) -> _Kind:
    return event.account, event.app, event.type


def _is_missed(receipt: Accepted | Refused) -> TypeGuard[Accepted]:
    return isinstance(receipt, Accepted) and not receipt.deliveries and not receipt.repeated


def _nearest(kinds: Sequence[_Kind], producer: Producer) -> Mapping[_Kind, tuple[str, ...]]:
    now, kept = time.monotonic(), producer.nearest_types
    nearest = {kind: entry[1] for kind in kinds if (entry := kept.get(kind)) and entry[0] > now}
    if new := [kind for kind in kinds if kind not in nearest and _may_look(kind[0], producer, now)]:
        found = _look(new, producer)
        if len(kept) > MAX_KEPT:
            kept.clear()
        kept.update({kind: (now + KEPT_SECONDS, names) for kind, names in found.items()})
        nearest |= found
    return nearest


def _may_look(account: str, producer: Producer, now: float) -> bool:
    """Counts one more kind of the account, unless there were too many within the second."""
    counts = producer.nearest_looks
    until, number = counts.get(account, (0.0, 0))
    if until <= now:
        until, number = now + KEPT_SECONDS, 0
        if len(counts) > MAX_KEPT:
            counts.clear()
    counts[account] = until, number + 1
    return number < MAX_NEW


def _look(kinds: Sequence[_Kind], producer: Producer) -> Mapping[_Kind, tuple[str, ...]]:
    owners = dict.fromkeys((account, app) for account, app, _ in kinds)
    try:
        with producer.statements.connect() as connection:
            subscribed = {(account, app): _subscribed(connection, account, app) for account, app in owners}
    except SQLAlchemyError:
        return {}
    return {
        (account, app, event_type): nearest_types(event_type, subscribed[account, app])
        if subscribed[account, app]
        else ()
        for account, app, event_type in kinds
    }


def _subscribed(connection: Connection, account: str, app: str | None) -> Sequence[str]:
    parameters = {"account": account, "app": app, "looked_at": LOOKED_AT, "compared": COMPARED}
    return connection.scalars(_SUBSCRIBED, parameters).all()
