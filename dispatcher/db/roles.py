"""Which rights in the database each kind of process needs, and the SQL that makes roles with them."""

import re
from typing import NamedTuple

_READ = "SELECT"
_STORE = ("store_v1", "subscribed_types_v1", "installation_id_v1")


class Role(NamedTuple):
    """Who connects with it; rights by table, beyond those of reading all that `reads` says; functions it may call."""

    about: str
    reads: tuple[str, ...]
    changes: dict[str, str]
    functions: tuple[str, ...] = ()

    @property
    def rights(self) -> frozenset[str]:
        """Each by itself, such as `INSERT on rates`; one on some columns as one on the table."""
        changes = {
            f"{right} on {table}"
            for table, rights in self.changes.items()
            for right in re.findall(r"[A-Z]+(?= \(|,|$)", rights)
        }
        calls = {f"EXECUTE on {function}" for function in self.functions}
        return frozenset(changes | calls | {f"{_READ} on {table}" for table in self.reads})


_WHAT_ACCOUNTS_HAVE = ("accounts", "webhooks", "subscriptions")
_DELIVERING = (
    "events",
    "deliveries",
    "requests",
    "attempts",
    "circuit_breakers",
    "rates",
    "notices",
    "contacts",
    "recipients",
    "mail_budgets",
)
_INSTALLATION = (
    "installation",
    "migrations",
    "processes",
    "leases",
    "redeliveries",
    "retention",
    "stored_events",
    "pulses",
    "pulse_marks",
)
_BROWSING = ("sessions", "portal_links")
_SECRET = ("api_keys", "tokens", "idempotency_keys", "audit")

ROLES = {
    "producer": Role("backends: `enqueue` in Python, `enqueue_v1` in SQL", (), {}, ("enqueue_v1", *_STORE)),
    "api": Role(
        "the API, and the command line",
        (*_WHAT_ACCOUNTS_HAVE, *_DELIVERING, *_INSTALLATION, *_BROWSING, "api_keys", "tokens", "audit"),
        {
            "accounts": "INSERT, UPDATE",
            "api_keys": "INSERT, UPDATE",
            "webhooks": "INSERT, UPDATE",
            "subscriptions": "INSERT, DELETE",
            "events": "INSERT",  # of a test
            "deliveries": "INSERT, UPDATE",
            "redeliveries": "INSERT, UPDATE",
            "notices": "UPDATE",
            "recipients": "INSERT, UPDATE, DELETE",
            "contacts": "INSERT, UPDATE",  # of somebody who unsubscribes
            "audit": "INSERT",
            "sessions": "INSERT, UPDATE",
            "portal_links": "INSERT, UPDATE",
            "rates": "INSERT",
            "circuit_breakers": "DELETE",
            "tokens": "DELETE",
            "installation": "UPDATE (digest_key)",
            "processes": "INSERT, UPDATE, DELETE",
            "leases": "INSERT, UPDATE",  # a part of the statement of each heartbeat
        },
        _STORE,
    ),
    "workers": Role(
        "delivery nodes and the maintenance worker",
        (*_WHAT_ACCOUNTS_HAVE, *_DELIVERING, *_INSTALLATION, *_BROWSING, *_SECRET),
        {
            "accounts": "UPDATE, DELETE",
            "api_keys": "UPDATE, DELETE",
            "webhooks": "UPDATE, DELETE",
            "subscriptions": "UPDATE, DELETE",
            "deliveries": "INSERT, UPDATE, DELETE",  # of a replay
            "requests": "INSERT, UPDATE (answer_headers, answer_excerpt)",  # captured answers go sooner than the rest
            "attempts": "INSERT",
            "circuit_breakers": "INSERT, UPDATE, DELETE",
            "rates": "INSERT, UPDATE, DELETE",
            "tokens": "INSERT, UPDATE, DELETE",
            "notices": "INSERT, UPDATE, DELETE",
            "contacts": "INSERT, UPDATE, DELETE",
            "recipients": "INSERT, UPDATE, DELETE",
            "mail_budgets": "INSERT, UPDATE, DELETE",
            "redeliveries": "UPDATE, DELETE",
            "idempotency_keys": "UPDATE, DELETE",
            "sessions": "UPDATE, DELETE",
            "portal_links": "UPDATE, DELETE",
            "audit": "INSERT",
            "installation": "UPDATE (digest_key, stored_to, requests_stored_to, secrets_bound_from)",
            "processes": "INSERT, UPDATE, DELETE",
            "leases": "INSERT, UPDATE",
            "retention": "INSERT, UPDATE",
            "stored_events": "INSERT, UPDATE, DELETE",
            "pulses": "INSERT, UPDATE, DELETE",
            "pulse_marks": "INSERT, UPDATE",
        },
        (
            "begin_partition_v1",
            "attach_partition_v1",
            "detach_week_v1",
            "keep_week_v1",
            "drop_week_v1",
            "begin_binding_v1",
        ),
    ),
    "readonly": Role(
        "reports, and the commands that only show something",
        (
            *_WHAT_ACCOUNTS_HAVE,
            *_DELIVERING,
            *_INSTALLATION,
            *_BROWSING,
            "stored_events",
            "api_keys",
            "tokens",
            "audit",
        ),  # secrets: encrypted
        {},
    ),
}


def roles_sql(prefix: str) -> str:
    """SQL for somebody who may create roles. It can be run again at any time: rights that a role has too many are taken
    away, in the same transaction."""
    names = [prefix + name for name in ROLES]
    listed = ", ".join(names)
    lines = [
        "-- Roles for the processes of dispatcher, without the right to log in: your own users become members of them.",
        "-- Run it as a superuser, in the database that the tables are in, after each `dispatcher migrate`.",
        "BEGIN;",
        "DO $$",
        "DECLARE wanted text;",
        "BEGIN",
        f"  FOREACH wanted IN ARRAY ARRAY[{', '.join(repr(name) for name in names)}] LOOP",
        "    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN",
        "      EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);",
        "    END IF;",
        "  END LOOP;",
        "END",
        "$$;",
        "-- PUBLIC: everybody may call functions that were restored without their rights.",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA dispatcher FROM PUBLIC, {listed};",
        f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA dispatcher FROM PUBLIC, {listed};",
        f"GRANT USAGE ON SCHEMA dispatcher TO {listed};",
    ]
    for name, role in ROLES.items():
        lines.append(f"-- {prefix}{name}: {role.about}")
        if role.reads:
            lines.append(f"GRANT SELECT ON {_tables(role.reads)} TO {prefix}{name};")
        lines += [f"GRANT {rights} ON dispatcher.{table} TO {prefix}{name};" for table, rights in role.changes.items()]
        lines += [f"GRANT EXECUTE ON FUNCTION dispatcher.{call} TO {prefix}{name};" for call in role.functions]
    return "\n".join([*lines, "COMMIT;", ""])


def _tables(names: tuple[str, ...]) -> str:
    return ", ".join(f"dispatcher.{name}" for name in names)
