"""Erases messages for good: those about a subject, or all of an account.

Of each event the message and the subject go, and what was captured of the answers to it; its open deliveries are
cancelled. Events, deliveries and attempts stay, without content, so that all counts remain true. An event is erased in
the same transaction as all that belongs to it, and can then no longer be found here: whoever is stopped goes on where
he was.
"""
# ruff: noqa: S608 - composed of constants

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from dispatcher.accounts import audit
from dispatcher.accounts.actor import Actor
from dispatcher.accounts.audit import Action
from dispatcher.db.arrays import array
from dispatcher.db.models import ERASED
from dispatcher.states import State

PIECE = 500  # events of one transaction
COUNTED = 100_000  # of a kind and account, at most

# Each has its own index.
_OF_ACCOUNT = f"account_id = :account AND codec <> {ERASED}"
_OF_SUBJECT = f"{_OF_ACCOUNT} AND subject = :subject"


def _next(wanted: str) -> str:
    # By the column: `id` alone would be the text, for which there is no index.
    after = "e.id > CAST(:after AS uuid) ORDER BY e.id LIMIT :most"
    return f"SELECT e.id::text FROM dispatcher.events e WHERE {wanted} AND {after}"


_ACCOUNTS = text("SELECT id::text FROM dispatcher.accounts ORDER BY id")
# One after the other, by the index of subjects.
_WITH_SUBJECT = text(f"""
SELECT a.id FROM unnest(CAST(:accounts AS uuid[])) a(id)
CROSS JOIN LATERAL (SELECT 1 FROM dispatcher.events WHERE {_OF_SUBJECT.replace(":account", "a.id")} LIMIT 1) e
""")
# What is claimed is being attempted, or others are changing it: its event waits.
_LOCK = text(f"""
SELECT id::text, event_id::text, state FROM dispatcher.deliveries
WHERE event_id = ANY(CAST(:events AS uuid[])) AND state <> '{State.CLAIMED}' FOR UPDATE SKIP LOCKED
""")
_ALL = text("SELECT id::text, event_id::text FROM dispatcher.deliveries WHERE event_id = ANY(CAST(:events AS uuid[]))")
_CANCEL = text(f"""
UPDATE dispatcher.deliveries SET state = '{State.CANCELLED}', reason = NULL, finished_at = now()
WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('{State.READY}', '{State.WAITING}')
""")
_REQUESTS = text("""
SELECT DISTINCT request_id::text FROM dispatcher.attempts
WHERE delivery_id = ANY(CAST(:ids AS uuid[])) AND request_id IS NOT NULL
""")
# A batch's answer may repeat any of its messages, so it goes for all of them.
_BLANK_REQUESTS = text("""
WITH replaced AS (
  SELECT replaces FROM dispatcher.requests WHERE id = ANY(CAST(:ids AS uuid[])) AND replaces IS NOT NULL)
UPDATE dispatcher.requests SET answer_headers = NULL, answer_excerpt = NULL
WHERE id = ANY(CAST(:ids AS uuid[]) || ARRAY(SELECT replaces FROM replaced))
  AND (answer_headers IS NOT NULL OR answer_excerpt IS NOT NULL)
""")
_BLANK_EVENTS = text(f"""
UPDATE dispatcher.events SET data = '', subject = NULL, codec = {ERASED} WHERE id = ANY(CAST(:ids AS uuid[]))
""")


class Found(NamedTuple):
    """What would be erased, each counted up to COUNTED."""

    events: int
    open_deliveries: int


@dataclass(slots=True)
class Erased:
    """What was erased so far; `left`: events with a delivery that was being attempted when the last run met them."""

    events: int = 0
    deliveries: int = 0  # that were open
    left: int = 0


class Erasure:
    """Erases the messages about a subject (in all accounts, or in one), or all of an account."""

    def __init__(self, engine: Engine, *, account: UUID | None, subject: str | None) -> None:
        assert account is not None or subject is not None
        self._engine, self._subject = engine, subject
        self._wanted = _OF_SUBJECT if subject is not None else _OF_ACCOUNT
        with engine.connect() as connection:
            self.accounts = [account] if account is not None else _with_subject(connection, subject)
        self._noted: set[UUID] = set()
        self.done = Erased()

    def count(self) -> Found:
        """What there is to erase."""
        events = deliveries = 0
        for account in self.accounts:
            with self._engine.connect() as connection:
                ids = self._ids(connection, account, UUID(int=0), COUNTED)
                events += len(ids)
                for first in range(0, len(ids), PIECE):
                    given = {"events": array(ids[first : first + PIECE])}
                    deliveries += connection.execute(_COUNT_OPEN, given).scalar_one()
        return Found(events, deliveries)

    def run(self, *, by: Actor, progress: Callable[[], object]) -> None:
        """Erases everything but what is being attempted at this moment, which is for another run. Counts in `done`.
        Each account with something to erase has one entry in the audit log, written with the first piece."""
        self.done.left = 0
        for account in self.accounts:
            after = UUID(int=0)
            while True:
                with self._engine.begin() as connection:
                    ids = self._ids(connection, account, after, PIECE)
                    if not ids:
                        break
                    free, ended = _erase(connection, ids)
                    if free and account not in self._noted:
                        # Without the subject, which can be what must not be kept.
                        detail = {"of": "subject" if self._subject is not None else "account"}
                        audit.write(connection, by, Action.MESSAGES_ERASED, account, account=account, detail=detail)
                if free:
                    self._noted.add(account)
                self.done.events += free
                self.done.deliveries += ended
                self.done.left += len(ids) - free
                after = UUID(ids[-1])
                progress()

    def _ids(self, connection: Connection, account: UUID, after: UUID, most: int) -> Sequence[str]:
        given: dict[str, object] = {"account": account, "after": after, "most": most}
        if self._subject is not None:
            given["subject"] = self._subject
        return connection.scalars(text(_next(self._wanted)), given).all()


_COUNT_OPEN = text(f"""
SELECT count(*) FROM dispatcher.deliveries
WHERE event_id = ANY(CAST(:events AS uuid[])) AND state IN ('{State.READY}', '{State.WAITING}', '{State.CLAIMED}')
""")


def _with_subject(connection: Connection, subject: str | None) -> list[UUID]:
    every, found = connection.scalars(_ACCOUNTS).all(), list[UUID]()
    for first in range(0, len(every), PIECE):
        given = {"accounts": array(every[first : first + PIECE]), "subject": subject}
        found += connection.scalars(_WITH_SUBJECT, given)
    return found


def _erase(connection: Connection, ids: Sequence[str]) -> tuple[int, int]:
    """Erases those of these events that nobody is attempting. Returns how many, and how many deliveries were open."""
    locked = {row.id: row.event_id for row in connection.execute(_LOCK, {"events": array(ids)})}
    busy = {row.event_id for row in connection.execute(_ALL, {"events": array(ids)}) if row.id not in locked}
    free = [event for event in ids if event not in busy]
    deliveries = [delivery for delivery, event in locked.items() if event not in busy]
    ended = 0
    if deliveries:
        ended = connection.execute(_CANCEL, {"ids": array(deliveries)}).rowcount
        requests = connection.scalars(_REQUESTS, {"ids": array(deliveries)}).all()
        if requests:
            connection.execute(_BLANK_REQUESTS, {"ids": array(requests)})
    if free:
        connection.execute(_BLANK_EVENTS, {"ids": array(free)})
    return len(free), ended
