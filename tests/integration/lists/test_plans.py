"""What each list reads of 200,000 rows, which the planner takes for 10 million, with every combination of filters."""

from collections.abc import Callable, Iterator, Mapping
from hashlib import md5
from itertools import product
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from dispatcher.accounts.accounts import accounts_page, find_account
from dispatcher.accounts.actor import ActorKind
from dispatcher.accounts.api_keys import keys_page
from dispatcher.accounts.audit import Action, list_entries
from dispatcher.accounts.recipients import list_recipients
from dispatcher.asgi import app
from dispatcher.db import of_webhooks, pages
from dispatcher.deliveries import history as deliveries_history
from dispatcher.deliveries import listing
from dispatcher.deliveries.bulk_redelivery import list_of
from dispatcher.deliveries.history import list_deliveries, log_of_webhook, states_of_event
from dispatcher.events import history as events_history
from dispatcher.events.history import list_events
from dispatcher.ids import time_of
from dispatcher.settings import Settings
from dispatcher.states import Reason, State
from dispatcher.webhooks.notices import NoticeKind, list_notices
from dispatcher.webhooks.store import NATIVE, Webhooks
from tests.factories import change, make_account, make_webhook, rows
from tests.installations import installation_for
from tests.many_rows import EntriesRead

LOOKED_AT, LIMIT = 1_000, 20  # in place of 10,000, so that the difference to all shows
WEBHOOKS = 300  # of acme
# Index entries and rows of a table, for a page: mostly 2 * LOOKED_AT and a step into each webhook. While few deliveries
# wait in all, the planner looks at these for each webhook.
MOST = 15_000

_ID = """CAST(lpad(to_hex(CAST(extract(epoch FROM date_trunc('week', now())) * 1000 AS bigint) + {n}), 12, '0')
  || '7000{kind}' || substr(md5(CAST({n} AS text) || '{kind}'), 1, 12) AS uuid)"""

# Most events go to one webhook, all states but delivered are rare, and few of them are of acme's.
_FILL = f"""
WITH w AS MATERIALIZED (SELECT id, row_number() OVER (ORDER BY number) AS place, account_id FROM dispatcher.webhooks),
made AS (
  SELECT n, {_ID.format(n="n", kind="9000")} AS event_id, {_ID.format(n="n", kind="8000")} AS id,
    CASE WHEN n % 10 < 7 THEN 1 ELSE n % {WEBHOOKS + 20} + 1 END AS place,
    CASE WHEN n % 97 = 0 THEN 'discarded' WHEN n % 9973 = 1 THEN 'cancelled' WHEN n % 4999 = 2 THEN 'waiting'
         WHEN n % 5003 = 3 THEN 'ready' WHEN n % 5009 = 4 THEN 'claimed' ELSE 'delivered' END AS state
  FROM generate_series(1, 200000) n),
d AS (
  INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, reason, due_at, give_up_at, claimed_until)
  SELECT m.id, event_id, w.id, state,
    CASE WHEN state = 'discarded' THEN CASE WHEN n % 9700 = 0 THEN 'exhausted' ELSE 'rejected' END END, now(), now(),
    CASE WHEN state = 'claimed' THEN now() END
  FROM made m JOIN w USING (place))
INSERT INTO dispatcher.events (id, account_id, app, type, subject, occurred_at, delivery_count, data)
SELECT event_id, account_id, CASE WHEN n % 50000 = 0 THEN 'rare' END, CASE WHEN n % 40000 = 7 THEN 'rare' ELSE 'a' END,
  CASE WHEN n % 20 = 0 THEN 'often' WHEN n % 30011 = 1 THEN 'seldom' END, now(),
  CASE WHEN n % 9001 = 5 THEN 0 ELSE 1 END, '1'
FROM made m JOIN w USING (place)"""
_ONE_EVENT = """
INSERT INTO dispatcher.deliveries (id, event_id, webhook_id, state, due_at, give_up_at)
SELECT gen_random_uuid(), :event, id, 'delivered', now(), now() FROM dispatcher.webhooks WHERE id <> :webhook"""
_SMALL = [
    f"""INSERT INTO dispatcher.notices (id, webhook_id, kind, fingerprint, observed_at, delivery_id, quarantined_at)
    SELECT {_ID.format(n="n", kind="8001")}, w.id,
      CASE WHEN n % 999 = 0 THEN 'webhook_disabled' ELSE 'message_retrying' END, 'http_' || n, now(), w.id,
      CASE WHEN n % 1999 = 0 THEN now() END
    FROM generate_series(1, 20000) n, (SELECT id FROM dispatcher.webhooks ORDER BY number LIMIT 1) w""",
    f"""INSERT INTO dispatcher.audit (id, actor_kind, actor, key_id, account_id, action, target_kind, target_id, detail,
      request_id)
    SELECT {_ID.format(n="n", kind="8002")}, CASE WHEN n % 4999 = 0 THEN 'command_line' ELSE 'api_key' END, '-',
      md5(CAST(n % 3 AS text))::uuid, a.id, CASE WHEN n % 4999 = 1 THEN 'key.revoked' ELSE 'webhook.changed' END,
      'webhook', md5(CAST(n % 2 AS text))::uuid, '{{}}', md5(CAST(n % 5 AS text))::uuid
    FROM generate_series(1, 30000) n, (SELECT id FROM dispatcher.accounts WHERE name = 'acme') a""",
    f"""INSERT INTO dispatcher.api_keys (id, account_id, secret_sha256, scopes)
    SELECT {_ID.format(n="n", kind="8003")}, CASE WHEN n % 1999 > 0 THEN a.id END, '', '{{read}}'
    FROM generate_series(1, 20000) n, (SELECT id FROM dispatcher.accounts WHERE name = 'other') a""",
    f"""INSERT INTO dispatcher.redeliveries (id, account_id, states, per_second, matched, counting, finished_at)
    SELECT {_ID.format(n="n", kind="8004")}, a.id, '{{discarded}}', 1, 0, false, now()
    FROM generate_series(1, 20000) n, (SELECT id FROM dispatcher.accounts WHERE name = 'other') a""",
    f"""INSERT INTO dispatcher.accounts (id, name) SELECT {_ID.format(n="n", kind="8005")}, 'account ' || n
    FROM generate_series(1, 20000) n""",
    """INSERT INTO dispatcher.webhooks (id, account_id, account_no, app, dialect, url_masked, event_types, contract,
      retry_span, enabled, deleted_at, contact_email)
    SELECT gen_random_uuid(), a.id, a.number, CASE WHEN n % 999 = 0 THEN 'rare' ELSE 'usual' END,
      CASE WHEN n % 998 = 0 THEN 'sinch' ELSE 'bulksms' END, '-', '{a}', '{}', interval '1 d', n % 997 > 0,
      CASE WHEN n % 3 = 0 THEN now() END, 'c' || n || '@example.com'
    FROM generate_series(1, 20000) n, (SELECT id, number FROM dispatcher.accounts WHERE name = 'many') a""",
    f"""INSERT INTO dispatcher.recipients (id, account_id, address, mailbox)
    SELECT {_ID.format(n="n", kind="8006")}, a.id, 'c' || n || '@example.com', 'c' || n || '@example.com'
    FROM generate_series(1, 20000) n, (SELECT id FROM dispatcher.accounts WHERE name = 'many') a""",
]
# An owner may set them from PostgreSQL 18 on; before, the planner sees the rows there are.
_AS_IF = """
SELECT pg_restore_relation_stats('schemaname', 'dispatcher', 'relname', CAST(relname AS text), 'relpages', relpages,
  'reltuples', CAST(reltuples * 50 AS real))
FROM pg_class WHERE reltuples > 0 AND relkind IN ('r', 'i') AND relnamespace = CAST('dispatcher' AS regnamespace)"""


class World:
    """An account with much, and what to ask for."""

    def __init__(self, database: Engine, settings: Settings) -> None:
        self.webhooks = [make_webhook(database, settings, url="https://example.com/").id]
        for name in ("other", "many"):
            make_account(database, name)
        copy = (
            "INSERT INTO dispatcher.webhooks"
            " (id, account_id, account_no, url_masked, event_types, contract, retry_span, enabled)"
            " SELECT gen_random_uuid(), a.id, a.number, '-', '{a}', '{}', interval '1 d', true"
            " FROM generate_series(1, :count), dispatcher.accounts a WHERE a.name = :account"
        )
        change(database, copy, count=WEBHOOKS - 1, account="acme")
        change(database, copy, count=20, account="other")
        change(database, _FILL)
        self.event = rows(database, "SELECT id FROM dispatcher.events ORDER BY id DESC OFFSET 77 LIMIT 1")[0].id
        change(database, _ONE_EVENT, event=self.event, webhook=self.webhooks[0])
        for statement in _SMALL:
            change(database, statement)
        with database.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
            if connection.exec_driver_sql("SHOW server_version_num").scalar_one() >= "180000":
                connection.exec_driver_sql(_AS_IF)
        found = rows(database, "SELECT id FROM dispatcher.webhooks ORDER BY number OFFSET 40 LIMIT 1")
        self.webhooks.append(found[0].id)
        middle = rows(database, "SELECT id FROM dispatcher.events ORDER BY id OFFSET 100000 LIMIT 1")[0].id
        self.middle: UUID = middle
        self.times = {"since": [None, time_of(middle)], "until": [None, time_of(middle)]}

    def lists(self) -> Iterator[tuple[str, str, Callable[..., Any], Mapping[str, list[Any]]]]:
        """Each list: its operation, its table, how it is read, and what each of its filters may be."""
        ids = [rows_id(number) for number in range(2)]
        yield "list_deliveries", "deliveries", list_deliveries, {
            "webhook": [None, *self.webhooks],
            "event": [None, self.event],
            "state": [None, *State],
            "reason": [None, Reason.EXHAUSTED, Reason.EXPIRED],
            **self.times,
        }  # fmt: skip
        yield "list_events", "events", list_events, {
            "event_type": [None, "rare"],
            "subject": [None, "often", "seldom", "nobody"],
            "app": [None, "rare"],
            "undelivered": [False, True],
            **self.times,
        }  # fmt: skip
        yield "list_deliveries, of all", "deliveries", lambda session, _, **given: list_deliveries(
            session, None, **given
        ), {"state": [None, *State], "reason": [None, Reason.EXHAUSTED], **self.times}  # fmt: skip
        yield "list_events, of all", "events", lambda session, _, **given: list_events(session, None, **given), {
            "event_type": [None, "rare"],
            "app": [None, "rare"],
            "undelivered": [False, True],
            **self.times,
        }  # fmt: skip
        yield "list_notices", "notices", list_notices, {
            "webhook": [None, *self.webhooks],
            "kind": [None, NoticeKind.WEBHOOK_DISABLED, NoticeKind.MESSAGE_DISCARDED],
            "quarantined": [None, True, False],
        }  # fmt: skip
        yield "list_changes", "audit", lambda session, owner, account, **given: list_entries(
            session, account=owner if account else None, **given
        ), {
            "account": [None, True],
            "actor": [None, ActorKind.COMMAND_LINE],
            "key": [None, ids[0]],
            "action": [None, Action.KEY_REVOKED],
            "target": [None, ids[1]],
            "request": [None, ids[0]],
            **self.times,
        }  # fmt: skip
        yield "list_redeliveries", "redeliveries", list_of, {"is_open": [False, True]}
        yield "list_redeliveries, of all", "redeliveries", lambda session, _, **given: list_of(
            session, None, **given
        ), {"is_open": [False, True]}  # fmt: skip
        for table in ("recipients", "webhooks", "notices"):
            yield f"list_contacts, of {table}", table, self.contacts, {"address": [None, "c7@example.com"]}
        yield "list_accounts", "accounts", lambda session, _, **given: accounts_page(session, **given), {}
        yield "list_keys", "api_keys", lambda session, owner, account, **given: keys_page(
            session, owner if account else None, **given
        ), {"account": [None, True]}  # fmt: skip

    @staticmethod
    def contacts(session: Session, _: Any, **given: Any) -> Any:
        return list_recipients(session, find_account(session, "many"), **given)


def rows_id(number: int) -> UUID:
    return UUID(md5(str(number).encode(), usedforsecurity=False).hexdigest())


@pytest.fixture
def looking_at_few() -> Iterator[None]:
    with (
        patch.object(pages, "LOOKED_AT", LOOKED_AT),
        patch.object(listing, "LOOKED_AT", LOOKED_AT),
        patch.object(of_webhooks, "LOOKED_AT", LOOKED_AT),
        patch.object(events_history, "LOOKED_AT", LOOKED_AT),
        patch.object(deliveries_history, "LOOKED_AT", LOOKED_AT),
        patch.dict(pages.page_of.__kwdefaults__, looked_at=LOOKED_AT),
    ):
        yield


def combinations(filters: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*filters.values()):
        found = dict(zip(filters, values, strict=True))
        nothing_between = found.get("since") is not None and found.get("since") == found.get("until")
        if not nothing_between and (found.get("reason") is None or found.get("state") in {None, State.DISCARDED}):
            yield found


def test_no_combination_of_filters_reads_without_bound(
    database: Engine, settings: Settings, subtests: pytest.Subtests, looking_at_few: None
) -> None:
    world = World(database, settings)
    tried = 0
    for operation, table, read, filters in world.lists():
        with subtests.test(operation), Session(database) as session:
            account = find_account(session, "acme")
            reading = EntriesRead(session, table)
            for wanted, before in product(combinations(filters), (None, world.middle)):
                asked = {**wanted, "before": before, "limit": LIMIT}
                read(session, account, **asked)
                assert reading.more() < MOST, asked
                tried += 1
    with subtests.test("list_webhooks"), Session(database) as session:
        webhooks, reading = Webhooks(session, installation_for(settings)), EntriesRead(session, "webhooks")
        accounts = [find_account(session, "acme"), find_account(session, "many"), None]
        for account, dialect, app_, enabled, quarantined in product(
            accounts, (None, "sinch", NATIVE), (None, "rare"), (None, False), (None, True)
        ):
            asked = {"dialect": dialect, "app": app_, "enabled": enabled, "quarantined": quarantined}
            webhooks.page(account, **asked, limit=LIMIT)
            if account is not None and dialect is not None:
                webhooks.piece(account, dialect, app=app_, after=world.middle, limit=500)
            assert reading.more() < MOST, (account and account.name, asked)
            tried += 1
    named = "the log of a webhook, and the states of an event's deliveries"
    with subtests.test(named), Session(database) as session:
        account, reading = find_account(session, "acme"), EntriesRead(session, "deliveries")
        for webhook, after, since in product(world.webhooks, (None, world.middle), world.times["since"]):
            log_of_webhook(session, account, webhook, after=after, since=since, limit=LIMIT)
            assert reading.more() < MOST, (webhook, after, since)
        assert sum(states_of_event(session, world.event).values()) == WEBHOOKS + 20
        assert reading.more() < MOST
    assert tried > 500


def test_every_filter_of_every_list_is_tried_above() -> None:
    pages_of = {"account", "limit", "cursor"}
    tried = {
        "list_deliveries": {"webhook", "event", "state", "reason", "since", "until"},
        "list_events": {"type", "subject", "app", "undelivered", "since", "until"},
        "list_notices": {"webhook", "kind", "quarantined"},
        "list_changes": {"actor", "key", "action", "target", "request", "since", "until"},
        "list_contacts": {"address"},
        "list_redeliveries": set(),
        "list_accounts": set(),
        "list_keys": set(),
        "list_webhooks": {"dialect", "app", "enabled", "quarantined", "url"},
    }
    for methods in app.openapi()["paths"].values():
        if (operation := methods.get("get", {})).get("operationId", "").startswith("list_"):
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            assert names - pages_of == tried[operation["operationId"]]
