"""Claims deliveries that had to do with the deaths of several workers, a few at a time.

A loop with this claimer has nothing else in flight. So nobody else suffers if one of them kills again, and each death
says more about which one it is (`dispatcher/deliveries/deaths.py`).
"""

from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import Connection, text

from dispatcher.deliveries.deaths import GROUPS, SUSPECT
from dispatcher.states import State
from workers.claims.claims import CLAIM, Claim, Claimed, read_claims
from workers.claims.statements import COLUMNS, NOT_SUSPENDED, RATE_LIMIT, READABLE, TAKEN, USED_UNTIL

_SIZE = f"CASE deaths {' '.join(f'WHEN {deaths} THEN {size}' for deaths, size in GROUPS.items())} ELSE 1 END"

# Of each webhook one, so that no receiver gets many at once. An open circuit holds nothing back: behind it, a suspect
# would wait for a trial that only a suspect can be.
_CLAIM_SUSPECTS = text(f"""
WITH able AS MATERIALIZED (
  SELECT d.id, d.webhook_id, d.deaths, d.due_at, w.version, {RATE_LIMIT} AS rate_limit,
         g.webhook_id IS NOT NULL AS failing,
         row_number() OVER (PARTITION BY d.webhook_id ORDER BY d.deaths, d.due_at) AS place
  FROM dispatcher.deliveries d
  JOIN dispatcher.webhooks w ON w.id = d.webhook_id AND w.enabled AND {READABLE} AND w.deleted_at IS NULL
  LEFT JOIN dispatcher.circuit_breakers g ON g.webhook_id = w.id
  LEFT JOIN dispatcher.rates r ON r.webhook_id = w.id
  WHERE d.state = '{State.READY}' AND d.deaths >= {SUSPECT} AND d.due_at <= now()
    AND (w.rate_limit IS NULL OR {USED_UNTIL} <= now()) AND {NOT_SUSPENDED}),
chosen AS MATERIALIZED (
  SELECT *, row_number() OVER (ORDER BY due_at) AS n FROM able
  WHERE place = 1 AND deaths = (SELECT min(deaths) FROM able WHERE place = 1)),
picked AS MATERIALIZED (
  SELECT c.id, d.ctid AS tid, c.webhook_id, c.version, c.rate_limit, c.failing, false AS trial
  FROM (SELECT * FROM chosen WHERE n <= {_SIZE}) c
  JOIN dispatcher.deliveries d ON d.id = c.id AND d.state = '{State.READY}'
  FOR UPDATE OF d SKIP LOCKED),
paced AS (
  UPDATE dispatcher.rates r
  SET used_until = greatest({USED_UNTIL}, now()) + interval '1 second' / p.rate_limit
  FROM picked p WHERE r.webhook_id = p.webhook_id AND p.rate_limit IS NOT NULL),
{TAKEN}
SELECT {COLUMNS}
FROM taken t JOIN picked p USING (id) JOIN dispatcher.events e ON e.id = t.event_id
ORDER BY t.webhook_id
""")  # noqa: S608 - composed of constants


class SuspectClaimer:
    """Claims suspects for one loop, which claims again only when nothing is in flight."""

    def __init__(self) -> None:
        self.id = str(uuid4())

    def claim(self, connection: Connection, *_: object, **__: object) -> Claimed:
        """The next group. Those with the fewest deaths come first: most of them are innocent."""
        rows = connection.execute(_CLAIM_SUSPECTS, {"me": self.id, "span": CLAIM}).all()
        return Claimed(read_claims(rows), round_done=True, full=False)

    def claim_passing(self, *_: object) -> Sequence[Claim]:
        """Nothing: what passes an open circuit is no suspect."""
        return ()

    def start_round(self) -> None:
        """Each claim looks at all of them."""
