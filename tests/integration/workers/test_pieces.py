"""Work in pieces takes a piece once, however PostgreSQL plans it. With `IN (SELECT ... LIMIT)` a nested loop asks for
the next thousand rows again and again, and one transaction changes any number of them."""

import pytest
from sqlalchemy import Engine, TextClause, text

from dispatcher.settings import Settings
from tests.factories import change, make_webhook, rows
from tests.many_rows import make_many_open
from workers.maintenance.account_deletion import OF_ACCOUNT
from workers.maintenance.sweep import PROMOTE
from workers.maintenance.upkeep import FORGET_KEYS

(DELETE_KEYS,) = (statement for statement in OF_ACCOUNT if "idempotency_keys" in str(statement))


@pytest.mark.parametrize("statement", [PROMOTE, FORGET_KEYS, DELETE_KEYS], ids=["promote", "forget", "delete"])
def test_a_piece_is_taken_once_however_the_plan_joins(
    database: Engine, settings: Settings, statement: TextClause
) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/")
    make_many_open(database, webhook.id, 2_500, state="waiting")
    change(database, "UPDATE dispatcher.deliveries SET due_at = now()")
    change(
        database,
        "INSERT INTO dispatcher.idempotency_keys (account_id, key, event_id, digest, expires_at)"
        " SELECT a.id, n::text, gen_random_uuid(), '', now() FROM dispatcher.accounts a, generate_series(1, 2500) n",
    )
    (account,) = rows(database, "SELECT id FROM dispatcher.accounts")
    with database.begin() as connection:
        for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material"):
            connection.execute(text(f"SET LOCAL enable_{way} = off"))
        given = {PROMOTE: {"piece": 1_000}, DELETE_KEYS: {"account": account.id}}.get(statement, {})
        done = connection.execute(statement, given)
        assert (done.one().promoted if statement is PROMOTE else done.rowcount) == 1_000
