"""Looks for the oldest delivery that nothing keeps, at a bounded cost: at a part of the webhooks each time."""

from uuid import UUID

from sqlalchemy import Connection

from dispatcher.diagnosis import statements

_FIRST = UUID(int=0)


class Round:
    """Remembers the oldest of the last whole round over all webhooks."""

    def __init__(self) -> None:
        self._after = _FIRST
        self._so_far = self._last_round = 0.0

    def look(self, connection: Connection) -> float:
        """Its age in seconds; one that was found a moment ago may have been sent since."""
        found = connection.execute(statements.OLDEST_DUE, {"after": self._after}).one()
        self._so_far = max(self._so_far, float(found.oldest))
        if found.visited < statements.VISITED:
            self._after, self._last_round, self._so_far = _FIRST, self._so_far, 0.0
            return self._last_round
        self._after = found.last
        return max(self._so_far, self._last_round)

    @property
    def is_done(self) -> bool:
        """A round ends here."""
        return self._after == _FIRST
