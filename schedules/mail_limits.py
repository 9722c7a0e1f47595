"""How many mails one contact may get, and one webhook, one account and the installation may cause. Nobody must be able
to flood an address by entering it as a contact. What is above the limits waits for its turn, and comes in one mail."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)

_STRANGERS = 5  # to contacts that are not confirmed may go a mail for so many others
_WITHOUT_DOTS = frozenset({"gmail.com", "googlemail.com"})  # one provider, which ignores dots


@dataclass(frozen=True, slots=True)
class SentBefore:
    """When the last mails were sent: to this mailbox, about this webhook, for this account, by the installation. Those
    of account and installation are of one kind: to contacts that are confirmed, or to those that are not. To one that
    is not: also the last mail of that kind to the mailbox."""

    to_contact: Sequence[datetime] = ()
    of_webhook: Sequence[datetime] = ()
    of_account: Sequence[datetime] = ()
    of_all: Sequence[datetime] = ()
    is_confirmed: bool = True
    unconfirmed: datetime | None = None


@dataclass(frozen=True, slots=True)
class MailLimits:
    """The most mails per hour to one contact, for one account and of the installation, and per minute for one webhook;
    0 means no limit. To a contact that is not confirmed there is one in a day, and no setting changes that. Such mails
    have limits of their own, a fifth as high, and of those of the installation an account has half of what the others
    leave. So whoever names strangers by the hundred takes nothing from those who want mails, nor do those keep others
    from being asked whether they do; and nobody makes the operator a sender of spam."""

    per_contact_hour: int
    per_webhook_minute: int
    per_account_hour: int
    per_hour: int

    def free_at(self, sent: SentBefore, *, now: datetime) -> datetime:
        """When the next mail may be sent; `now` means at once."""
        of_webhook = _free_at(sent.of_webhook, self.per_webhook_minute, MINUTE, now)
        if sent.is_confirmed:
            return max(
                of_webhook,
                _free_at(sent.to_contact, self.per_contact_hour, HOUR, now),
                _free_at(sent.of_account, self.per_account_hour, HOUR, now),
                _free_at(sent.of_all, self.per_hour, HOUR, now),
            )
        of_account, of_all = -(-self.per_account_hour // _STRANGERS), -(-self.per_hour // _STRANGERS)
        left_by_others = of_all - len(_recent(sent.of_all, HOUR, now)) + len(_recent(sent.of_account, HOUR, now))
        return max(
            of_webhook,
            _free_at(sent.of_account, of_account, HOUR, now),
            _free_at(sent.of_account, max(1, (left_by_others + 1) // 2) if of_all else 0, HOUR, now),
            _free_at(sent.of_all, of_all, HOUR, now),
            sent.unconfirmed + DAY if sent.unconfirmed is not None else now,
        )


def _free_at(sent: Sequence[datetime], most: int, period: timedelta, now: datetime) -> datetime:
    """The earliest time that keeps to `most` mails in any rolling `period`."""
    recent = _recent(sent, period, now)
    return recent[-most] + period if most and len(recent) >= most else now


def _recent(sent: Sequence[datetime], period: timedelta, now: datetime) -> list[datetime]:
    return sorted(moment for moment in sent if moment > now - period)


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
