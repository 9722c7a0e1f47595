"""Deliveries as pages show them: explained, with what can be done, and with each attempt's request and answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from dispatcher.console.exchanges import Exchange, Sent, exchange_of, phrase_of, size_of
from dispatcher.console.view import View
from dispatcher.db.models import Account, Webhook
from dispatcher.deliveries.masked import masked
from dispatcher.deliveries.records import AttemptRecord, DeliveryLine, EventLine
from dispatcher.errors import Unreadable
from dispatcher.masking.messages import Hidden, Names, hidden_in, mask_message, member_names
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
_HOLDS = frozenset(
    {
        *(Code.WEBHOOK_DISABLED, Code.WEBHOOK_QUARANTINED, Code.WEBHOOK_NEWER, Code.ACCOUNT_SUSPENDED),
        *(Code.BEHIND_CIRCUIT, Code.PACED, Code.HOST_FAULT),
    }
)
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
    def state(self) -> str:
        """As chips show it: one that is ready, and held back by something other than its turn, is called so."""
        is_held = self.line.state is State.READY and any(sentence.code in _HOLDS for sentence in self.said)
        return "held" if is_held else self.line.state.value

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
    webhooks, message, hidden = Webhooks(session, view.installation), shown.message, hidden_in(shown.data, shown.names)
    ordered = sorted(lines, key=lambda each: (each.id != first, BY_NEED.index(each.state)))
    here = _here([attempts[line.id][1][:most] if line.id in attempts else () for line in ordered], len(message or b""))
    cards = []
    for at, line in enumerate(ordered):
        webhook, records = attempts.get(line.id, (None, ()))
        tried: list[Tried] = []
        if webhook is not None:
            contract = _contract(webhooks, webhook, shown.account)
            sent = Sent(shown.event, message, shown.account.name, webhook.id, webhook.updated_at, contract)
            tried = [
                _tried(record, hidden, sent if (at, place) in here else None, exact=view.is_console)
                for place, record in enumerate(records[:most])
            ]
        before = records[most - 1].number if len(records) > most else None
        cards.append(Card(line, said.get(line.id, []), tried, before))
    return cards


def _contract(webhooks: Webhooks, webhook: Webhook, account: Account) -> DeliveryContract | None:
    try:
        return webhooks.opened(webhook, account, None).contract
    except Unreadable:
        return None


def _tried(record: AttemptRecord, hidden: Hidden, sent: Sent | None, *, exact: bool) -> Tried:
    """`sent`: None if its exchanges are on another page."""
    failure, detail = told(record.failure, record.failure_detail, exact=exact)
    phrase = phrase_of(record.status) if record.status is not None else ""
    if sent is None:
        return Tried(record, phrase, failure, detail, None, None, is_elsewhere=True)
    record = masked(record, hidden, _OF_BATCH)
    refused = exchange_of(record.refused, sent) if record.refused is not None else None
    return Tried(record, phrase, failure, detail, exchange_of(record, sent), refused)


def _here(attempts: Sequence[Sequence[AttemptRecord]], message: int) -> set[tuple[int, int]]:
    """Of which attempts of which deliveries the page has the exchanges, if their messages have so many bytes: as many
    as it may have, at least one; first the last one of each delivery. Asked before they are made and masked, which
    takes much longer than to leave them out. Those without exchanges take no place."""
    left, kept, is_first = SHOWN, set[tuple[int, int]](), True
    for place, at in sorted((place, at) for at, records in enumerate(attempts) for place in range(len(records))):
        size = size_of(attempts[at][place], message)
        if not size or size <= left or is_first:
            left, is_first = left - size, is_first and not size
            kept.add((at, place))
    return kept
