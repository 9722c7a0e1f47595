"""How many mails one contact may get and one webhook may cause. Nobody must be able to flood an address by entering it
as a contact. Mails above the limits wait for their turn."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

_WITHOUT_DOTS = frozenset({"gmail.com", "googlemail.com"})  # one provider, which ignores dots


@dataclass(frozen=True, slots=True)
class MailLimits:
    """The most mails per hour to one contact and per minute for one webhook; 0 means no limit."""

    per_contact_hour: int
    per_webhook_minute: int

    def free_at(self, *, to_contact: Sequence[datetime], of_webhook: Sequence[datetime], now: datetime) -> datetime:
        """When the next mail may be sent, given when the last ones were sent; `now` means at once."""
        return max(
            _free_at(to_contact, self.per_contact_hour, HOUR, now),
            _free_at(of_webhook, self.per_webhook_minute, MINUTE, now),
        )

    @property
    def gap(self) -> timedelta:
        """The shortest interval between mails of one webhook in the long run. Mails that wait are spaced by it."""
        gaps = [HOUR / self.per_contact_hour] if self.per_contact_hour else []
        gaps += [MINUTE / self.per_webhook_minute] if self.per_webhook_minute else []
        return max(gaps, default=timedelta(0))


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
