"""SQL that counts requests by webhook, account and outcome.

An outcome is `ok`, `token_refused` (the request was made again with a new token), or the verdict and the fingerprint
that notices have: `rejected:http_404`, `temporary:timeout`. Receivers choose their answers, so statuses that HTTP does
not define are one for each hundred (`http_5xx`): the number of outcomes stays small.
"""
# ruff: noqa: S608 - composed of constants

from http import HTTPStatus
from uuid import UUID

from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.pulses.answer_times import BOUNDS

ALL = UUID(int=0)  # whose counts are those of the whole installation
OK, TOKEN_REFUSED = "ok", "token_refused"

TIMES = (*(f"t{bound}" for bound in BOUNDS), "tmore")
COUNTS = ("requests", "messages", "millis", *TIMES)

_DEFINED = ", ".join(str(int(status)) for status in HTTPStatus)
_LONGEST = 40  # of a failure's name: rows may hold anything

# Of a row of requests, with `is_old`: versions that did not write a verdict did not write how many messages there were,
# either.
OUTCOME = f"""CASE
  WHEN verdict IS NULL AND NOT is_old THEN '{TOKEN_REFUSED}'
  WHEN verdict = '{Verdict.ACKNOWLEDGED}' THEN '{OK}'
  WHEN verdict IS NULL AND (status BETWEEN 200 AND 299 OR status = 101) THEN '{OK}'
  ELSE CASE
    WHEN verdict = '{Verdict.REJECTED}' OR verdict IS NULL AND status BETWEEN 400 AND 499 THEN '{Verdict.REJECTED}'
    ELSE '{Verdict.TEMPORARY}' END || ':' || CASE
    WHEN status IN ({_DEFINED}) THEN 'http_' || status
    WHEN status BETWEEN 100 AND 999 THEN 'http_' || status / 100 || 'xx'
    WHEN status IS NOT NULL THEN 'http_other'
    ELSE coalesce(left(failure, {_LONGEST}), 'unknown') END
  END"""

# Until an answer was there; a request without one has no time. A row may hold a duration that leads out of what
# PostgreSQL has.
_MS = """CASE WHEN status IS NOT NULL
  THEN date_part('epoch', least(greatest(duration, interval '0'), interval '1 day')) * 1000 END"""


def _classes() -> str:
    lower = (None, *BOUNDS)
    upper = (*BOUNDS, None)
    return ", ".join(
        "count(*) FILTER (WHERE "
        + " AND ".join([*([f"ms > {low}"] if low else []), *([f"ms <= {high}"] if high else [])])
        + f") AS {name}"
        for name, low, high in zip(TIMES, lower, upper, strict=True)
    )


def _sums(columns: tuple[str, ...]) -> str:
    return ", ".join(f"sum({column}) AS {column}" for column in columns)


# Of the requests with ids from `:first` on and below `:end`. First by what they have, so that the words are made once
# for each of it. Without a webhook (it was removed) they have neither webhook nor account.
COUNTED = f"""
SELECT w.id AS webhook_id, w.account_id, n.outcome, {", ".join(f"n.{column}" for column in COUNTS)}
FROM (
  SELECT webhook_id, {OUTCOME} AS outcome, {_sums(COUNTS)}
  FROM (
    SELECT webhook_id, verdict, status, failure, is_old, count(*) AS requests, sum(messages) AS messages,
      CAST(coalesce(sum(ms), 0) AS bigint) AS millis, {_classes()}
    FROM (
      SELECT webhook_id, verdict, status, failure, messages IS NULL AS is_old,
        greatest(1, messages) AS messages, {_MS} AS ms
      FROM dispatcher.requests WHERE id >= :first AND id < :end) r
    GROUP BY webhook_id, verdict, status, failure, is_old) g
  GROUP BY webhook_id, outcome) n
LEFT JOIN dispatcher.webhooks w ON w.id = n.webhook_id"""


def summed(table: str) -> str:
    """The sums of all columns of counts of a table, as columns with their names."""
    return ", ".join(f"CAST(sum({table}.{column}) AS bigint) AS {column}" for column in COUNTS)


# Of what was COUNTED, as `c`: each webhook, each account, and ALL.
OF_EACH = f"""
SELECT coalesce(webhook_id, account_id, '{ALL}') AS of_id, outcome, {summed("c")} FROM c
GROUP BY GROUPING SETS ((webhook_id, outcome), (account_id, outcome), (outcome))
HAVING grouping(webhook_id, account_id) = 3 OR coalesce(webhook_id, account_id) IS NOT NULL"""
