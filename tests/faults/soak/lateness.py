"""How late what is due arrives, by the ledgers of both ends as they grow. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.faults.ledgers import Received, Role, Sent

FORGET_SECONDS = 60.0  # a request of an event that is on no line of the backend's ledger: it was killed between two


@dataclass(slots=True)
class Late:
    """Seconds of each delivery that came since the last look: from its receipt to its receiver, and from the moment of
    its retry."""

    first: list[float]
    retries: list[float]
    messages: int  # that were acknowledged, of any kind


@dataclass(slots=True)
class Lateness:
    """What is still due, and since when. `retry_after`: the delay of the first retry in its schedule."""

    retry_after: float
    accepted: int = 0
    refused: int = 0
    errors: list[str] = field(default_factory=list)
    _due: dict[str, tuple[float, int]] = field(default_factory=dict)  # number -> since when, how many are missing
    _retried: dict[str, float] = field(default_factory=dict)  # delivery -> when its retry is due
    _unknown: list[Received] = field(default_factory=list)  # their receipts are not in the ledger yet

    def take(self, sent: Iterable[Sent], received: Iterable[Received]) -> Late:
        """Takes what is new in the ledgers."""
        for one in sent:
            if one.error:
                self.errors.append(one.error)
            if one.event is None:
                self.refused += one.accepted > one.asked  # else it is only begun
                continue
            self.accepted += 1
            if one.role is Role.STEADY and one.deliveries:
                self._due[one.number] = one.accepted, one.deliveries
        late = Late([], [], 0)
        came = [*self._unknown, *received]
        self._unknown = []
        newest = max((one.at for one in came), default=0.0)
        for one in came:
            if one.path.startswith("/again/"):
                self._take_retry(one, late)
            else:
                self._take(one, newest, late)
        return late

    def oldest(self, now: float) -> float:
        """For how long the one that has been due for longest is due; 0 if none is."""
        return max((now - since for since, _ in self._due.values()), default=0.0)

    def _take(self, one: Received, newest: float, late: Late) -> None:
        if not one.answered:
            return
        unknown = []
        for number in one.numbers:
            if number not in self._due:
                unknown.append(number)
                continue
            since, missing = self._due.pop(number)
            late.first.append(max(0.0, one.at - since))
            late.messages += 1
            if missing > 1:
                self._due[number] = since, missing - 1
        if unknown and one.path.startswith(("/ok/", "/slow/")) and newest - one.at < FORGET_SECONDS:
            self._unknown.append(_of(one, unknown))
        elif unknown:
            late.messages += len(unknown)

    def _take_retry(self, one: Received, late: Late) -> None:
        delivery = str(one.delivery)
        if not one.answered:
            self._retried[delivery] = one.at + self.retry_after
            return
        late.messages += 1
        if (due := self._retried.pop(delivery, None)) is not None:
            late.retries.append(max(0.0, one.at - due))


def _of(one: Received, numbers: list[str]) -> Received:
    return Received(one.at, one.path, one.delivery, tuple(numbers), one.request, one.attempt, one.answered)
