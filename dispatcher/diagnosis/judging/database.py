"""Pure. Whether this process and the database fit together: way, rights, tables, clocks, weeks."""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import NamedTuple

from dispatcher.diagnosis.findings import Finding, Level, amount, fail, not_checked, ok, span, warn, within

SLOW_ANSWER = 0.05, 1.0  # seconds, of the least a statement takes
CLOCK_OFF = 5.0, 300.0  # seconds; receivers refuse signatures that are older than five minutes
SOON = 14.0  # days
_NAMED = 5  # of the rights that a role lacks
BINDS_WITHIN = timedelta(days=1)


def answers(version: str, seconds: float) -> Finding:
    says = f"PostgreSQL {version} answers in {seconds * 1000:.1f} ms"
    level = within(seconds, *SLOW_ANSWER)
    if level is Level.OK:
        return ok(says)
    return Finding(level, says, "look at its load and at the network between: each claim waits for several answers")


def pooler(*, is_there: bool, is_said: bool) -> Finding:
    if is_there and not is_said:
        advice = "set DISPATCHER_DATABASE_POOLER=true for all processes: it may change sessions between transactions"
        return fail("DATABASE_URL leads to a pooler, and DISPATCHER_DATABASE_POOLER is not set", advice)
    if is_there:
        return ok("a pooler, as DISPATCHER_DATABASE_POOLER says")
    return ok("no pooler, though DISPATCHER_DATABASE_POOLER allows one" if is_said else "no pooler")


def schema(found: str, ours: str, missing: Sequence[str], invalid: Sequence[str]) -> list[Finding]:
    """What is missing of the tables, and which indexes are of no use."""
    bad = []
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        bad.append(
            fail(f"missing in the database: {shown}", "somebody has changed the tables: restore them from a backup")
        )
    bad += [
        warn(
            "this index was not completed, and is not used", f"REINDEX INDEX CONCURRENTLY dispatcher.{name}", where=name
        )
        for name in invalid
    ]
    newer = f", a newer version's; this one has {ours} and works with it" if found > ours else ""
    return bad or [ok(f"the tables are at migration {found}{newer}")]


def binding(since: datetime | None, unbound: int, now: datetime, *, begun: bool, done: bool) -> Finding:
    """`since`: when it begins, or when it began."""
    if done:
        return ok("each secret is bound to its row, and opens nowhere else")
    if not begun:
        begins = f"at {since:%Y-%m-%d %H:%M} UTC" if since is not None else "a week after its last heartbeat"
        return ok(f"secrets are not bound to their rows yet, for an older version may come back: that begins {begins}")
    if since is None or now - since < BINDS_WITHIN or not unbound:
        return ok(f"secrets are being bound to their rows: {unbound:,} are left")
    advice = "`dispatcher secrets rotate` names those that no key opens: add the key, or delete their webhooks"
    return warn(f"{unbound:,} secrets cannot be bound to their rows, so copied ones are not refused yet", advice)


def rights(role: str, lacking: Set[str], wanted: Mapping[str, Set[str]], *, is_owner: bool) -> Finding:
    """`lacking`: rights that a role has not; `wanted`: those that each kind of process needs."""
    if unread := lacking & wanted["readonly"]:
        tables = ", ".join(sorted(right.removeprefix("SELECT on ") for right in unread))
        return warn(
            f"the role {role} may not read: {tables}", f"GRANT SELECT ON ALL TABLES IN SCHEMA dispatcher TO {role}"
        )
    missing = {kind: sorted(wanted[kind] & lacking) for kind in ("api", "workers")}
    if {right for right in wanted["api"] | wanted["workers"] if not right.startswith(("SELECT", "EXECUTE"))} <= lacking:
        why = f"the role {role} may only read: whether the workers' may do their work is seen with their DATABASE_URL"
        return not_checked(why)
    if enough := [kind for kind, rights in missing.items() if not rights]:
        owns = ", and owns the tables" if is_owner else ""
        return ok(f"the role {role} may do what is needed by: {', '.join(enough)}{owns}")
    kind, rights = min(missing.items(), key=lambda one: len(one[1]))
    more = f", and {len(rights) - _NAMED} more" if len(rights) > _NAMED else ""
    return fail(
        f"the role {role} lacks what {kind} needs: {', '.join(rights[:_NAMED])}{more}",
        "run the SQL of `dispatcher roles --print` as a superuser, as after each upgrade",
    )


def own_clock(offset: float, error: float) -> Finding:
    """`offset`: of the database's clock against this machine's, known up to `error`."""
    level = within(abs(offset) - error, *CLOCK_OFF)
    if level is Level.OK:
        return ok(f"this machine's clock and the database's differ by {span(abs(offset))}")
    side = "behind" if offset > 0 else "ahead of"
    advice = "look at the time service of this machine and of the database's"
    return Finding(level, f"this machine's clock is {span(abs(offset))} {side} the database's", advice)


def partitions(missing: Mapping[str, datetime], default_rows: Mapping[str, int], now: datetime) -> list[Finding]:
    """`missing`: by table, when the first week begins that has no partition, of this week and those that should be
    there; `default_rows`: rows in default partitions."""
    bad = []
    days = {table: (begins - now).total_seconds() / 86_400 for table, begins in missing.items()}
    advice = "run `dispatcher migrate` as the owner of the tables; upkeep's log says why it makes none"
    for table, left in days.items():
        if left <= 0:
            bad.append(fail("has no partition for this week: what belongs there is refused", advice, where=table))
        elif left < SOON:
            bad.append(warn(f"has no partition for the week that begins in {left:.0f} days", advice, where=table))
    for table, rows in default_rows.items():
        says = f"has a default partition with {rows:,} rows or more" if rows else "has an empty default partition"
        advice = (
            "versions before 0.3 made it: upkeep moves its rows week by week, then detaches it. Look again tomorrow"
        )
        bad.append(warn(says, advice, where=table))
    return bad or [ok("there are partitions for this week and those ahead")]


class Going(NamedTuple):
    """What retention would remove of a kind."""

    kind: str
    days: int | None  # None: it is kept for ever
    spared_until: datetime | None
    weeks: int
    rows: int
    bytes: int


def retention(kinds: Sequence[Going]) -> list[Finding]:
    spared = [one for one in kinds if one.spared_until is not None]
    found = []
    for one in spared:
        if one.rows or one.weeks:
            weeks = f"{one.weeks} weeks, " if one.weeks else ""
            variable = f"DISPATCHER_RETENTION_{one.kind.upper()}"
            says = (
                f"{weeks}about {one.rows:,} rows ({amount(one.bytes)}) go from {one.spared_until:%Y-%m-%d %H:%M} UTC on"
            )
            found.append(warn(f"{says}, because no time is set", f"set {variable} to days, or to off", where=one.kind))
    if found:
        return found
    kept = ", ".join(f"{one.kind} {'for ever' if one.days is None else f'{one.days} d'}" for one in kinds)
    return [ok(f"kept: {kept}" + ("; nothing is old enough to go" if spared else ""))]
