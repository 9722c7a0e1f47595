"""Links that begin one session: each once, in time, while the key and the account that they were made with last."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import Call
from dispatcher.accounts.api_keys import Scope, create_key, revoke_key
from dispatcher.accounts.lifecycle import resume, suspend
from dispatcher.accounts.portal_links import Link, make, take
from dispatcher.accounts.sessions import end_all_of, find
from dispatcher.errors import AccountSuspended, LinkGone
from dispatcher.ids import new_id
from tests.factories import TESTER, make_account, rows
from tests.waiting import wait_for_a_lock

CALL = Call(UUID(int=7), "192.0.2.1")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def session(database: Engine) -> Iterator[Session]:
    make_account(database)
    with Session(database) as session, session.begin():
        yield session


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


def link_of(session: Session, now: datetime, *, key_id: UUID | None = None) -> Link:
    return make(
        session,
        kind="portal",
        key_id=key_id,
        account_id=find_account(session, "acme").id,
        scopes=["read", "manage"],
        user="u-17",
        expires_in=5 * MINUTE,
        session_seconds=3600,
        embed_origin="https://app.example",
        return_url="https://app.example/settings",
        theme="dark",
        path="/webhooks",
        now=now,
        by=TESTER,
    )


def test_a_link_begins_the_session_that_it_was_made_for(session: Session, database: Engine, now: datetime) -> None:
    link = link_of(session, now)
    begun, secret, taken = take(session, link.id, link.secret, now + MINUTE, call=CALL)
    assert taken == link
    assert taken.path == "/webhooks"
    assert find(session, "portal", secret, now + MINUTE) == begun
    assert (begun.kind, begun.account, begun.scopes) == ("portal", "acme", {"read", "manage"})
    assert (begun.user_label, begun.embed_origin, begun.theme) == ("u-17", "https://app.example", "dark")
    assert begun.return_url == "https://app.example/settings"
    assert begun.expires_at == now + MINUTE + timedelta(hours=1)
    session.commit()
    made, used = rows(
        database, "SELECT * FROM dispatcher.audit WHERE action IN ('link.made', 'session.begun') ORDER BY id"
    )
    assert (made.target_id, made.account_id, made.actor_kind) == (link.id, begun.account_id, "command_line")
    assert (used.target_id, used.session_id, used.actor_kind) == (begun.id, begun.id, "portal")
    assert (used.user_label, str(used.address)) == ("u-17", CALL.address)


def test_the_address_has_the_secret_where_no_browser_sends_it(session: Session, now: datetime) -> None:
    link = link_of(session, now)
    assert link.url("https://hooks.example") == f"https://hooks.example/portal/enter#{link.id}.{link.secret}"


def test_the_secret_of_a_link_is_not_stored(session: Session, database: Engine, now: datetime) -> None:
    link = link_of(session, now)
    session.commit()
    assert link.secret not in str(rows(database, "SELECT * FROM dispatcher.portal_links"))


@pytest.mark.parametrize("fault", ["used", "late", "unknown", "wrong", "ended", "revoked", "removed"])
def test_a_link_that_does_not_count_any_more_begins_nothing(
    session: Session, database: Engine, now: datetime, fault: str
) -> None:
    key = create_key(session, by=TESTER, account="acme", scopes=[Scope.READ, Scope.MANAGE])
    link = link_of(session, now, key_id=key.id)
    identifier, secret, at, sessions = link.id, link.secret, now, 0
    match fault:
        case "used":
            take(session, identifier, secret, now, call=CALL)
            sessions = 1
        case "late":
            at = now + 5 * MINUTE
        case "unknown":
            identifier = new_id()
        case "wrong":
            secret += "x"
        case "ended":
            end_all_of(session, find_account(session, "acme").id, now, by=TESTER)
        case "revoked":
            revoke_key(session, key.id, by=TESTER)
        case "removed":  # by an older version, which does not know of links
            session.execute(text("DELETE FROM dispatcher.api_keys"))
            session.execute(text("DELETE FROM dispatcher.accounts"))
    with pytest.raises(LinkGone) as refused:
        take(session, identifier, secret, at, call=CALL)
    # The way back is only for whoever has the link.
    known = fault not in {"unknown", "wrong"}
    assert refused.value.return_url == ("https://app.example/settings" if known else None)
    session.commit()
    assert len(rows(database, "SELECT id FROM dispatcher.sessions")) == sessions


def test_a_suspended_account_does_not_use_up_a_link(session: Session, now: datetime) -> None:
    link, account = link_of(session, now), find_account(session, "acme")
    suspend(session, account, by=TESTER)
    with pytest.raises(AccountSuspended):
        take(session, link.id, link.secret, now, call=CALL)
    resume(session, account, by=TESTER)
    assert take(session, link.id, link.secret, now, call=CALL)[0].account == "acme"


def test_of_many_who_follow_a_link_at_once_one_is_let_in(session: Session, database: Engine, now: datetime) -> None:
    link = link_of(session, now)
    session.commit()

    def follow(_: int) -> bool:
        with Session(database) as own, own.begin():
            try:
                take(own, link.id, link.secret, now, call=CALL)
            except LinkGone:
                return False
            return True

    with ThreadPoolExecutor(5) as threads:
        assert sorted(threads.map(follow, range(5))) == [False] * 4 + [True]


def test_a_link_that_is_followed_while_all_sessions_end_begins_none_that_lasts(
    session: Session, database: Engine, now: datetime
) -> None:
    link, account = link_of(session, now), find_account(session, "acme").id
    session.commit()

    def end_all() -> int:
        with Session(database) as own, own.begin():
            return end_all_of(own, account, now, by=TESTER)

    with ThreadPoolExecutor(1) as thread:
        with Session(database) as follower, follower.begin():
            _, secret, _ = take(follower, link.id, link.secret, now, call=CALL)
            ending = thread.submit(end_all)
            wait_for_a_lock(database)
        assert ending.result(10) == 1
    with Session(database) as later, later.begin():
        assert find(later, "portal", secret, now) is None
