"""Sends notices: due mails are claimed, sent and recorded, one per error in 24 hours."""
# ruff: noqa: S608 - composed of constants

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from time import monotonic

from sqlalchemy import Connection, Engine, text

from workers.notices.claiming import LONGEST_MAIL, ClaimedMail, Unusable, claim, quarantine
from workers.notices.due import PIECE, end_unmailed, postpone_suspended, turns
from workers.notices.mailer import CleanFailure, Mailer
from workers.notices.recording import Ending, record, release
from workers.notices.wording import message_of

log = logging.getLogger("workers.notices")

MAX_MAILS = 200  # mails per run; the next run sends the rest
RUN_SECONDS = 60  # after so many no other mail is begun
PIECES = 10  # of what is not mailed now, before mails have their turn again
_RUN_LOCK = 0x6D61696C  # "mail": the advisory lock of a run
PAUSE_WITHOUT_SERVER = timedelta(minutes=15)


def send_due(engine: Engine, mailer: Mailer, *, most: int = MAX_MAILS) -> dict[str, int]:
    """Sends due mails, up to `most`, for a bounded time; returns how many notices ended in which way. Accounts take
    turns.

    Raises only what the database raises. A mail server that cannot be used ends the run: the mail that failed waits for
    its next try, the others stay due. A notice of which no mail can be made is quarantined. One that kills the process
    is not tried again: nothing in it is looked at before its claim is committed.
    """
    return _run(engine, mailer, most)[0]


def send_due_alone(engine: Engine, mailer: Mailer, again: Callable[[], object]) -> dict[str, int]:
    """`send_due`, unless a run is in progress anywhere: one mail to a server that hangs takes minutes, and must not
    take a second slot from the sweep. That run or the next one finds notices that become due meanwhile. Calls `again`
    if it stopped before all was sent."""
    with engine.begin() as connection:
        # A transaction's lock: if this process dies, it ends at once, and if its machine does, after one mail's time.
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{LONGEST_MAIL.total_seconds()}s'"))
        if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _RUN_LOCK}):
            return {}
        ended, is_more = _run(engine, mailer, MAX_MAILS, lock=connection)
    if is_more:  # after the lock: the next run needs it
        again()
    return ended


def _run(engine: Engine, mailer: Mailer, most: int, lock: Connection | None = None) -> tuple[dict[str, int], bool]:
    """`lock`, if given, has a lock that must not end before. Returns also whether it stopped because of `most` or of
    its time."""
    tally: Counter[str] = Counter({ending.value: 0 for ending in Ending})
    if not mailer.configured:
        _wait_for_a_server(engine)
        return dict(tally), False
    mails, is_more, until = 0, True, monotonic() + RUN_SECONDS
    while is_more and monotonic() < until:
        is_more = _clear_away(engine, tally)
        with engine.begin() as connection:
            notices = turns(connection, MAX_MAILS)
        for notice in notices:
            if mails >= most or monotonic() >= until:
                return dict(tally), True
            if lock is not None:
                lock.execute(_NOW)
            with engine.begin() as connection:
                mail = claim(connection, notice, mailer.limits_for)
            if mail is None:
                continue
            is_more = True
            if isinstance(mail, int):
                tally[Ending.HELD_BACK] += mail
            elif isinstance(mail, Unusable):
                tally[Ending.QUARANTINED] += 1
            else:
                mails += 1
                if not _send(engine, mailer, mail, tally):
                    return dict(tally), False
    return dict(tally), is_more


def _clear_away(engine: Engine, tally: Counter[str]) -> bool:
    """Postpones what is due for suspended accounts, and ends what no mail is made of. Returns whether there may be
    more. One after the other: each piece looks past what is of the other kind."""

    def end(connection: Connection) -> int:
        ended = end_unmailed(connection)
        tally[Ending.UNSUBSCRIBED] += ended.unsubscribed
        tally[Ending.DROPPED] += ended.dropped
        return sum(ended)

    are_left = [_in_pieces(engine, piece) for piece in (postpone_suspended, end)]
    return any(are_left)


def _in_pieces(engine: Engine, piece: Callable[[Connection], int]) -> bool:
    """Takes pieces, each in a transaction. Returns whether there may be more."""
    for _ in range(PIECES):
        with engine.begin() as connection:
            count = piece(connection)
        if count < PIECE:
            return False
    return True


def _send(engine: Engine, mailer: Mailer, mail: ClaimedMail, tally: Counter[str]) -> bool:
    """Returns whether the mail server can be used."""
    message = message_of(mail, mailer)
    if isinstance(message, Unusable):
        with engine.begin() as connection:
            quarantine(connection, message)
            release(connection, mail)
        tally[Ending.QUARANTINED] += 1
        return True
    result = mailer.send(message) if isinstance(message, EmailMessage) else message
    with engine.begin() as connection:
        tally.update(record(connection, mail, result))
    return not (isinstance(result, CleanFailure) and result.unavailable)


def close_abandoned(connection: Connection) -> int:
    """For upkeep: closes the claims of workers that died while sending. Those mails are not sent again, because it is
    unknown whether they were sent. Returns how many."""
    count = connection.execute(_CLOSE_ABANDONED).rowcount
    if count:
        log.warning("%d notices were being sent when their worker died: they are not sent again", count)
    return count


def _wait_for_a_server(engine: Engine) -> None:
    """Without a mail server due notices are postponed, again and again, so that fresh ones are sent once there is a
    server."""
    postponed, count = 0, PIECE
    while count == PIECE:
        with engine.begin() as connection:
            count = connection.execute(_POSTPONE, {"pause": PAUSE_WITHOUT_SERVER}).rowcount
        postponed += count
    if postponed:
        log.warning("%d notices are counted, not sent: no mail server is set (DISPATCHER_SMTP_HOST)", postponed)


_NOW = text("SELECT now()")

_POSTPONE = text(f"""
UPDATE dispatcher.notices SET due_at = now() + :pause WHERE id = ANY(ARRAY(
  SELECT id FROM dispatcher.notices WHERE due_at <= now() ORDER BY due_at LIMIT {PIECE} FOR UPDATE SKIP LOCKED))
""")

_CLOSE_ABANDONED = text("UPDATE dispatcher.notices SET claimed_until = NULL WHERE claimed_until < now()")
