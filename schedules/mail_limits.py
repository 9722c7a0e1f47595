"""How many mails one contact may get, and one webhook, one account and the installation may cause. Nobody must be able
to flood an address by entering it as a contact. What is above the limits waits for its turn, and comes in one mail."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)

_STRANGERS = 5  # contacts that are not confirmed get one in so many mails
_WITHOUT_DOTS = frozenset({"gmail.com", "googlemail.com"})  # one provider, which ignores dots


@dataclass(frozen=True, slots=True)
class SentBefore:
    """When the last mails were sent: to this mailbox, about this webhook, for this account, by the installation. If
    nobody has confirmed the address for the account: also the last mail of that kind to the mailbox."""

    to_contact: Sequence[datetime] = ()
    of_webhook: Sequence[datetime] = ()
    of_account: Sequence[datetime] = ()
    of_all: Sequence[datetime] = ()
    is_confirmed: bool = True
    unconfirmed: datetime | None = None


@dataclass(frozen=True, slots=True)
class MailLimits:
    """The most mails per hour to one contact, for one account and of the installation, and per minute for one webhook;
    0 means no limit. To a contact that is not confirmed there is one in a day, and no setting changes that; and it goes
    only while the account and the installation have used less than a fifth of theirs. So whoever names strangers by the
    hundred takes nothing from those who want mails, and does not make the operator a sender of spam."""

    per_contact_hour: int
    per_webhook_minute: int
    per_account_hour: int
    per_hour: int

    def free_at(self, sent: SentBefore, *, now: datetime) -> datetime:
        """When the next mail may be sent; `now` means at once."""
        share = 1 if sent.is_confirmed else _STRANGERS
        return max(
            _free_at(sent.to_contact, self.per_contact_hour, HOUR, now),
            _free_at(sent.of_webhook, self.per_webhook_minute, MINUTE, now),
            _free_at(sent.of_account, -(-self.per_account_hour // share), HOUR, now),
            _free_at(sent.of_all, -(-self.per_hour // share), HOUR, now),
            sent.unconfirmed + DAY if sent.unconfirmed is not None else now,
        )


def _free_at(sent: Sequence[datetime], most: int, period: timedelta, now: datetime) -> datetime:
    """The earliest time that keeps to `most` mails in any rolling `period`."""
    recent = sorted(moment for moment in sent if moment > now - period)
    return recent[-most] + period if most and len(recent) >= most else now


def mailbox(address: str) -> str:
    """A key shared by all addresses of one mailbox: most mail servers ignore case, quotation marks, and a tag after a
    plus sign."""
    local, _, domain = address.casefold().rpartition("@")
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    local, domain = local.partition("+")[0] or local, domain.rstrip(".")
    if domain in _WITHOUT_DOTS:
        local, domain = local.replace(".", ""), "gmail.com"
    return f"{local}@{domain}"
