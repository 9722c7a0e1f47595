"""Pages of what belongs to the webhooks of an account, newest first: each webhook has its own part of an index, and the
newest of all parts are found without reading any of them further than a bound."""
# ruff: noqa: S608 - composed of constants

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from dispatcher.db.pages import LOOKED_AT, last_before
from dispatcher.errors import InvalidFilter

MOST_WEBHOOKS = 50_000  # of an account whose things are listed together, deleted ones included
_AT_ONCE = 100  # webhooks of which the next rows are looked at
_SIFTED_AT_ONCE = 20  # the same if few of these may match


class Found(NamedTuple):
    """The ids on a page, in its order, and below which id the next one goes on (None: there is none)."""

    ids: Sequence[UUID]
    before: UUID | None


@dataclass(frozen=True, slots=True)
class Source:
    """A table's index of `webhook_id`, maybe one more column (`more`, with its value), and `id`, of the rows `where`.
    `fits`: conditions that it does not help with, on `kept` columns."""

    table: str
    more: Mapping[str, str]
    where: str
    kept: Sequence[str]
    fits: Sequence[str]


def page_of_webhooks(session: Session, source: Source, given: Mapping[str, Any], limit: int) -> Found:
    """A page of the rows of the webhooks of `given["account"]`, or of `given["webhook"]` of these, with ids from
    `given["first"]` on and below `given["end"]`. With `fits` it is made from the next 10,000 rows, so it can be short
    or empty although there are more. Raises InvalidFilter for an account with very many webhooks."""
    parameters = {**given, "last": last_before(given["end"]), "looked_at": LOOKED_AT, "limit": limit + 1}
    rounds = (min(limit + 1, _AT_ONCE), ":limit"), (_SIFTED_AT_ONCE, _EACH)
    if source.fits:  # first so few that a page which these fill costs no more
        rounds = (rounds[0][0], "2 * :limit"), rounds[1]
    for webhooks, each in rounds if source.fits else rounds[:1]:
        statement = _statement(source, webhooks, each, is_one=given["webhook"] is not None)
        found = session.execute(text(statement), parameters).one()
        refuse_many(found.webhooks)
        if len(found.ids) > limit or found.floor is None:
            break
    # The next page begins with the floor itself.
    return page(found.ids, UUID(int=found.floor.int + 1) if found.floor is not None else None, limit)


def page(ids: Sequence[UUID], reached: UUID | None, limit: int) -> Found:
    """The page, of what was found when one more than the limit was asked for, and how far that reached."""
    return Found(ids[:limit], ids[limit - 1]) if len(ids) > limit else Found(ids, reached)


def refuse_many(webhooks: int) -> None:
    """Raises InvalidFilter if they are more than can be gone through for a page."""
    if webhooks > MOST_WEBHOOKS:
        many = f"the account has more than {MOST_WEBHOOKS:,} webhooks, deleted ones included"
        raise InvalidFilter("webhook", f"is required: {many}")


def webhooks_of(*, is_one: bool) -> str:
    """The account's webhooks, as a query."""
    of_one = "AND id = :webhook" if is_one else ""
    return f"SELECT id FROM dispatcher.webhooks WHERE account_id = :account {of_one} LIMIT {MOST_WEBHOOKS + 1}"


_EACH = ":looked_at / greatest(1, (SELECT count(*) FROM chosen))"


def _statement(source: Source, webhooks: int, each: str, *, is_one: bool) -> str:
    """The webhooks whose next row is the newest, and of each of these its next rows. All above the `floor` has been
    looked at: from there on, a webhook may have more than was looked at, or another webhook comes."""
    columns = ["webhook_id", *source.more, "id"]
    key, values = ", ".join(columns), ", ".join(["{webhook}", *source.more.values()])
    # In rows, for which there is an index: by id alone the planner might walk through those of all webhooks.
    along = f"""FROM {source.table}
    WHERE ({key}) >= ({values}, :first) AND ({key}) <= ({values}, :last) AND {source.where}
    ORDER BY {", ".join(f"{column} DESC" for column in columns)}"""
    return f"""
WITH w AS MATERIALIZED ({webhooks_of(is_one=is_one)}),
heads AS MATERIALIZED (
  SELECT w.id AS webhook_id, h.id FROM w CROSS JOIN LATERAL (SELECT id {along.format(webhook="w.id")} LIMIT 1) h
  ORDER BY h.id DESC LIMIT {webhooks + 1}),
chosen AS MATERIALIZED (SELECT webhook_id FROM heads ORDER BY id DESC LIMIT {webhooks}),
looked_at AS MATERIALIZED (
  SELECT d.*, row_number() OVER (PARTITION BY c.webhook_id ORDER BY d.id DESC) AS place
  FROM chosen c CROSS JOIN LATERAL (
    SELECT {", ".join(["id", *source.kept])} {along.format(webhook="c.webhook_id")} LIMIT {each}) d),
floor AS MATERIALIZED (
  SELECT id FROM (
    SELECT id FROM looked_at WHERE place = {each}
    UNION ALL
    (SELECT id FROM heads ORDER BY id DESC OFFSET {webhooks})) f
  ORDER BY id DESC LIMIT 1)
SELECT (SELECT count(*) FROM w) AS webhooks, (SELECT id FROM floor) AS floor,
  ARRAY(SELECT d.id FROM looked_at d
        WHERE ((SELECT id FROM floor) IS NULL OR d.id > (SELECT id FROM floor))
          {"".join(f" AND {fit}" for fit in source.fits)}
        ORDER BY d.id DESC LIMIT :limit) AS ids"""
