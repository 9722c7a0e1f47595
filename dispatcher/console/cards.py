"""Deliveries as pages show them: explained, with what can be done, and with each attempt's request and answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.orm import Session

from dispatcher.console.exchanges import Exchange, Sent, exchange_of, phrase_of
from dispatcher.console.view import View
from dispatcher.db.models import Account, Webhook
from dispatcher.deliveries.masked import masked
from dispatcher.deliveries.records import AttemptRecord, DeliveryLine, EventLine
from dispatcher.errors import Unreadable
from dispatcher.masking.messages import Names, mask_message, member_names
from dispatcher.states import CLOSED, State
from dispatcher.transport.told import told
from dispatcher.webhooks.contract import DeliveryContract
from dispatcher.webhooks.explanation.reading import explain_deliveries
from dispatcher.webhooks.explanation.words import Code, Sentence
from dispatcher.webhooks.store import Webhooks

SHOWN = 24_000  # characters of requests and answers on a page
_OF_BATCH = "*** (the answer to a request with several messages)"
BY_NEED = (State.DISCARDED, State.WAITING, State.READY, State.CLAIMED, State.CANCELLED, State.DELIVERED)
_SENDS = frozenset({Code.CAN_REDELIVER, Code.CAN_SEND_AT_ONCE})
_CANCELS = frozenset({Code.CAN_CANCEL, Code.CAN_SEND_AT_ONCE})


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt. Its exchange is None if it is not known, no longer kept, or on another page (`is_elsewhere`)."""

    record: AttemptRecord
    phrase: str
    failure: str | None
    detail: str | None
    exchange: Exchange | None
    refused: Exchange | None
    is_elsewhere: bool = False

    @property
    def exchanges(self) -> list[Exchange]:
        """In the order in which they were made."""
        return [each for each in (self.refused, self.exchange) if each is not None]


@dataclass(frozen=True, slots=True)
class Card:
    """A delivery."""

    line: DeliveryLine
    said: Sequence[Sentence]
    attempts: Sequence[Tried]  # the newest first
    before: int | None  # asks for earlier attempts (None: there are none)

    @property
    def sentences(self) -> list[Sentence]:
        """Without those for which there are buttons."""
        return [sentence for sentence in self.said if sentence.code not in _SENDS | _CANCELS]

    @property
    def can_send(self) -> bool:
        return any(sentence.code in _SENDS for sentence in self.said)

    @property
    def can_cancel(self) -> bool:
        return any(sentence.code in _CANCELS for sentence in self.said)

    @property
    def is_open(self) -> bool:
        return self.line.state not in CLOSED


@dataclass(frozen=True, slots=True)
class Shown:
    """An event as people see it: without the values of the members `names`. `data` is as it was given."""

    account: Account
    event: EventLine | None
    data: bytes | None
    names: Names

    @property
    def message(self) -> bytes | None:
        return mask_message(self.data, self.names) if self.data is not None else None


def names_for(view: View, *, revealed: bool = False) -> Names:
    """The members of messages whose values are masked."""
    return frozenset() if revealed else member_names(view.installation.settings.masked_members)


def cards_of(
    session: Session,
    view: View,
    shown: Shown,
    attempts: Mapping[UUID, tuple[Webhook, Sequence[AttemptRecord]]],
    *,
    lines: Sequence[DeliveryLine],
    most: int,
    first: UUID | None = None,
) -> list[Card]:
    """These deliveries, `first` and then those that did not arrive first, each with at most so many of its attempts; in
    two statements at most."""
    ids = [line.id for line in lines]
    said = explain_deliveries(session, view.installation, ids, exact=view.is_console) if ids else {}
    webhooks, message = Webhooks(session, view.installation), shown.message
    cards = []
    for line in sorted(lines, key=lambda each: (each.id != first, BY_NEED.index(each.state))):
        webhook, records = attempts.get(line.id, (None, ()))
        tried: list[Tried] = []
        if webhook is not None:
            contract = _contract(webhooks, webhook, shown.account)
            sent = Sent(shown.event, message, shown.account.name, webhook.id, webhook.updated_at, contract)
            tried = [_tried(record, shown, sent, exact=view.is_console) for record in records[:most]]
        before = records[most - 1].number if len(records) > most else None
        cards.append(Card(line, said.get(line.id, []), tried, before))
    return _within_bounds(cards)


def _contract(webhooks: Webhooks, webhook: Webhook, account: Account) -> DeliveryContract | None:
    try:
        return webhooks.opened(webhook, account, None).contract
    except Unreadable:
        return None


def _tried(record: AttemptRecord, shown: Shown, sent: Sent, *, exact: bool) -> Tried:
    record = masked(record, shown.data, shown.names, _OF_BATCH)
    return Tried(
        record,
        phrase_of(record.status) if record.status is not None else "",
        *told(record.failure, record.failure_detail, exact=exact),
        exchange_of(record, sent),
        exchange_of(record.refused, sent) if record.refused is not None else None,
    )


def _within_bounds(cards: Sequence[Card]) -> list[Card]:
    """With as many exchanges as a page may have, at least one: first the last one of each delivery."""
    left, kept = SHOWN, set[tuple[int, int]]()
    for place, at in sorted((place, at) for at, card in enumerate(cards) for place in range(len(card.attempts))):
        size = sum(exchange.size for exchange in cards[at].attempts[place].exchanges)
        if size <= left or not kept:
            left -= size
            kept.add((at, place))
    return [replace(card, attempts=list(_those(card.attempts, at, kept))) for at, card in enumerate(cards)]


def _those(attempts: Sequence[Tried], at: int, kept: set[tuple[int, int]]) -> Iterable[Tried]:
    for place, tried in enumerate(attempts):
        is_here = (at, place) in kept or not tried.exchanges
        yield tried if is_here else replace(tried, exchange=None, refused=None, is_elsewhere=True)
