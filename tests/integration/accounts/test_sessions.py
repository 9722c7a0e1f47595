"""Sessions of the console and the portal: who has one, how long, and what ends it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, event, text, update
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import find_account
from dispatcher.accounts.actor import Call
from dispatcher.accounts.api_keys import Scope, authenticate, create_key, revoke_key
from dispatcher.accounts.lifecycle import delete, resume, suspend
from dispatcher.accounts.portal_links import make, take
from dispatcher.accounts.sessions import (
    IDLE,
    MOST_OF_A_KEY,
    ConsoleSession,
    begin_console,
    end,
    end_all_of,
    find,
    list_sessions,
    prove,
)
from dispatcher.db.models import ApiKey
from dispatcher.errors import AccountSuspended, NotFound
from dispatcher.ids import first_id_at, new_id
from dispatcher.settings import Settings
from tests.factories import TESTER, change, make_account, rows, upkeep_once
from workers.maintenance.upkeep import PIECE

CALL = Call(UUID(int=7), "192.0.2.1")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def session(database: Engine) -> Iterator[Session]:
    with Session(database) as session, session.begin():
        yield session


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


def key_of(session: Session, *scopes: Scope, account: str | None = None) -> str:
    return create_key(session, by=TESTER, account=account, scopes=scopes).token


def console(session: Session, now: datetime, token: str | None = None) -> tuple[ConsoleSession, str]:
    caller = authenticate(session, token or key_of(session, Scope.OPERATOR))
    assert caller is not None
    return begin_console(session, caller, now, call=CALL)


def portal(session: Session, database: Engine, now: datetime, **changed: object) -> tuple[ConsoleSession, str]:
    account = find_account(session, make_account(database))
    chosen: dict[str, object] = {
        "kind": "portal",
        "key_id": None,
        "account_id": account.id,
        "scopes": {"read"},
        "user": "u-17",
        "expires_in": timedelta(minutes=5),
        "session_seconds": 3600,
        "embed_origin": None,
        "return_url": None,
        "theme": None,
        "path": "",
    }
    link = make(session, **{**chosen, **changed}, now=now, by=TESTER)  # type: ignore[arg-type]
    begun, secret, _ = take(session, link.id, link.secret, now, call=CALL)
    return begun, secret


@pytest.mark.parametrize("scope", [Scope.OPERATOR, Scope.OBSERVE])
def test_a_session_of_the_console_is_found_by_its_secret_and_may_what_its_key_may(
    session: Session, now: datetime, scope: Scope
) -> None:
    begun, secret = console(session, now, key_of(session, scope))
    assert find(session, "console", secret, now) == begun
    assert begun.scopes == {str(scope)}
    assert begun.account is None
    assert begun.proved_at is None
    assert find(session, "console", secret + "x", now) is None
    assert find(session, "portal", secret, now) is None


def test_no_key_of_an_account_begins_a_session_of_the_console(
    session: Session, database: Engine, now: datetime
) -> None:
    token = key_of(session, *(Scope.READ, Scope.MANAGE), account=make_account(database))
    with pytest.raises(ValueError, match="no operator's"):
        console(session, now, token)


def test_the_secret_is_not_stored(session: Session, database: Engine, now: datetime) -> None:
    _, secret = console(session, now)
    session.commit()
    assert secret not in str(rows(database, "SELECT * FROM dispatcher.sessions"))


def test_a_session_ends_eight_hours_after_it_began_however_much_it_is_used(session: Session, now: datetime) -> None:
    _, secret = console(session, now)
    for minutes in range(30, 8 * 60, 30):
        assert find(session, "console", secret, now + minutes * MINUTE) is not None
    assert find(session, "console", secret, now + timedelta(hours=8)) is None


def test_only_a_session_of_the_console_ends_by_not_being_used_for_an_hour(
    session: Session, database: Engine, now: datetime
) -> None:
    _, secret = console(session, now)
    _, other = portal(session, database, now, session_seconds=2 * 3600)
    assert find(session, "console", secret, now + IDLE - timedelta(seconds=1)) is not None  # notes that it was seen
    assert find(session, "console", secret, now + 2 * IDLE - 2 * MINUTE) is not None
    assert find(session, "console", secret, now + 3 * IDLE) is None
    assert find(session, "portal", other, now + IDLE + MINUTE) is not None


def test_finding_is_one_statement_that_writes_once_a_minute(session: Session, now: datetime) -> None:
    begun, secret = console(session, now)
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *given: statements.append(given[2]))

    def seen_at() -> datetime:
        return next(one.seen_at for one in list_sessions(session, now, limit=2) if one.id == begun.id)

    find(session, "console", secret, now + timedelta(seconds=59))
    assert len(statements) == 1
    assert seen_at() == now
    find(session, "console", secret, now + MINUTE)
    session.expire_all()
    assert seen_at() == now + MINUTE


def test_who_is_seen_by_two_requests_at_once_lets_neither_wait(database: Engine, now: datetime) -> None:
    with Session(database) as first, Session(database) as second:
        _, secret = console(first, now)
        first.commit()
        assert find(first, "console", secret, now + 2 * MINUTE) is not None
        second.connection().exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
        assert find(second, "console", secret, now + 2 * MINUTE) is not None


def test_a_session_ends_with_the_key_that_began_it(session: Session, now: datetime) -> None:
    token, other = key_of(session, Scope.OPERATOR), key_of(session, Scope.OPERATOR)
    _, secret = console(session, now, token)
    _, kept = console(session, now, other)
    revoke_key(session, UUID(token.partition(".")[0]), by=TESTER)
    assert find(session, "console", secret, now) is None
    assert find(session, "console", kept, now) is not None
    expires = update(ApiKey).where(ApiKey.id == UUID(other.partition(".")[0])).values(expires_at=now + MINUTE)
    session.execute(expires)
    assert find(session, "console", kept, now) is not None
    assert find(session, "console", kept, now + MINUTE) is None
    assert list_sessions(session, now + MINUTE, limit=9) == []


def test_a_session_of_the_portal_ends_with_the_key_that_made_its_link(
    session: Session, database: Engine, now: datetime
) -> None:
    key = create_key(session, by=TESTER, account=make_account(database), scopes=[Scope.READ, Scope.MANAGE])
    _, secret = portal(session, database, now, key_id=key.id)
    revoke_key(session, key.id, by=TESTER)
    assert find(session, "portal", secret, now) is None


def test_a_session_is_refused_while_its_account_is_suspended_and_ends_with_it(
    session: Session, database: Engine, now: datetime
) -> None:
    begun, secret = portal(session, database, now)
    account = find_account(session, "acme")
    suspend(session, account, by=TESTER)
    with pytest.raises(AccountSuspended):
        find(session, "portal", secret, now)
    resume(session, account, by=TESTER)
    assert find(session, "portal", secret, now) == begun
    delete(session, account, by=TESTER)
    assert find(session, "portal", secret, now) is None


def test_a_session_ends_with_a_key_or_an_account_whose_row_an_older_version_removed(
    session: Session, database: Engine, now: datetime
) -> None:
    key = create_key(session, by=TESTER, account=make_account(database), scopes=[Scope.READ])
    _, of_key = portal(session, database, now, key_id=key.id)
    _, of_account = portal(session, database, now)
    session.execute(text("DELETE FROM dispatcher.api_keys"))
    assert find(session, "portal", of_key, now) is None
    assert find(session, "portal", of_account, now) is not None
    session.execute(text("DELETE FROM dispatcher.accounts"))
    assert find(session, "portal", of_account, now) is None
    assert list_sessions(session, now, limit=9) == []


def test_a_session_that_was_ended_is_not_found_and_ending_it_again_changes_nothing(
    session: Session, database: Engine, now: datetime
) -> None:
    begun, secret = console(session, now)
    end(session, begun.id, now, by=begun.actor(CALL))
    assert find(session, "console", secret, now) is None
    end(session, begun.id, now, by=begun.actor(CALL))
    session.commit()
    (entry,) = rows(database, "SELECT * FROM dispatcher.audit WHERE action = 'session.ended'")
    assert (entry.target_id, entry.session_id, entry.key_id) == (begun.id, begun.id, begun.key_id)
    assert (entry.actor_kind, str(entry.address), entry.request_id) == ("console", CALL.address, CALL.request_id)


def test_a_session_that_was_never_begun_cannot_be_ended(session: Session, now: datetime) -> None:
    with pytest.raises(NotFound):
        end(session, new_id(), now, by=TESTER)


def test_all_sessions_of_an_account_end_at_once_and_no_others(
    session: Session, database: Engine, now: datetime
) -> None:
    mine = [portal(session, database, now)[1] for _ in range(2)]
    other = find_account(session, make_account(database, "other"))
    _, kept = portal(session, database, now, account_id=other.id)
    _, operator = console(session, now)
    account = find_account(session, "acme")
    assert end_all_of(session, account.id, now, by=TESTER) == 2
    assert [find(session, "portal", secret, now) for secret in mine] == [None, None]
    assert find(session, "portal", kept, now) is not None
    assert find(session, "console", operator, now) is not None
    assert end_all_of(session, account.id, now, by=TESTER) == 0
    session.commit()
    (entry,) = rows(database, "SELECT * FROM dispatcher.audit WHERE action = 'account.portal_sessions_ended'")
    assert entry.detail == {"sessions": 2, "links": 0}


def test_a_proof_is_kept_with_its_time(session: Session, now: datetime) -> None:
    begun, secret = console(session, now)
    prove(session, begun.id, now + MINUTE)
    found = find(session, "console", secret, now + MINUTE)
    assert found is not None
    assert found.proved_at == now + MINUTE


def test_of_too_many_sessions_of_a_key_the_oldest_end(
    session: Session, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_OF_A_KEY == 100
    monkeypatch.setattr("dispatcher.accounts.sessions.MOST_OF_A_KEY", 2)
    token = key_of(session, Scope.OPERATOR)
    _, other = console(session, now)
    made = [console(session, now, token)[1] for _ in range(3)]
    assert [find(session, "console", secret, now) is not None for secret in (*made, other)] == [False, True, True, True]


def test_sessions_are_listed_newest_first_by_account_and_in_pages(
    session: Session, database: Engine, now: datetime
) -> None:
    operator, _ = console(session, now)
    first, second = (portal(session, database, now)[0] for _ in range(2))
    other = find_account(session, make_account(database, "other"))
    portal(session, database, now, account_id=other.id)
    account = find_account(session, "acme")
    assert list_sessions(session, now, account=account, limit=9) == [second, first]
    assert list_sessions(session, now, before=second.id, limit=9) == [first, operator]
    assert list_sessions(session, now, before=second.id, limit=1) == [first]


def test_upkeep_forgets_sessions_that_have_ended_and_links_of_yesterday_more_than_a_piece(
    database: Engine, settings: Settings, now: datetime
) -> None:
    with Session(database) as session, session.begin():
        begun, _ = portal(session, database, now, session_seconds=3600)
    copied = "kind, account_id, scopes, created_at"
    change(
        database,
        f"INSERT INTO dispatcher.sessions (id, secret_sha256, {copied}, seen_at, expires_at)"
        f" SELECT gen_random_uuid(), CAST(n AS text)::bytea, {copied}, seen_at, now()"
        " FROM dispatcher.sessions, generate_series(1, :number) n",
        number=PIECE + 1,
    )
    change(
        database,
        f"INSERT INTO dispatcher.portal_links (id, secret_sha256, {copied}, path, session_seconds, expires_at)"
        f" SELECT CAST(overlay(gen_random_uuid()::text placing :yesterday from 1) AS uuid), '', {copied}, '', 60, now()"
        " FROM dispatcher.portal_links, generate_series(1, :number)",
        number=PIECE + 1,
        yesterday=str(first_id_at(now - timedelta(hours=24, minutes=1)))[:13],
    )
    done = upkeep_once(settings)
    assert (done["sessions_forgotten"], done["links_forgotten"]) == (PIECE + 1, PIECE + 1)
    assert [row.id for row in rows(database, "SELECT id FROM dispatcher.sessions")] == [begun.id]
    assert len(rows(database, "SELECT id FROM dispatcher.portal_links")) == 1  # of today, although it was used


def test_a_deleted_account_is_removed_with_its_sessions_and_links(
    database: Engine, settings: Settings, now: datetime
) -> None:
    with Session(database) as session, session.begin():
        token = key_of(session, Scope.OPERATOR)
        key = create_key(session, by=TESTER, account=make_account(database), scopes=[Scope.READ])
        for key_id in (None, UUID(token.partition(".")[0]), key.id):
            portal(session, database, now, key_id=key_id)
        delete(session, find_account(session, "acme"), by=TESTER)
    assert upkeep_once(settings)["accounts_removed"] == 1
    for table in ("accounts", "sessions", "portal_links"):
        assert rows(database, f"SELECT id FROM dispatcher.{table}") == [], table
