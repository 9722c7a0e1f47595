"""How many mails one contact and one webhook may give: whoever fills in a contact's address must not be able to flood
it. What is above waits for its turn."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

_WITHOUT_DOTS = frozenset({"gmail.com", "googlemail.com"})  # one provider, to which dots say nothing


@dataclass(frozen=True, slots=True)
class MailLimits:
    """Each 0: any number."""

    per_contact_hour: int
    per_webhook_minute: int

    def free_at(self, *, to_contact: Sequence[datetime], of_webhook: Sequence[datetime], now: datetime) -> datetime:
        """When the next mail may go, by when those before went; `now`: at once."""
        return max(
            _free_at(to_contact, self.per_contact_hour, HOUR, now),
            _free_at(of_webhook, self.per_webhook_minute, MINUTE, now),
        )

    @property
    def gap(self) -> timedelta:
        """How far apart mails of one webhook can be in the long run: each that waits gets a time of its own."""
        gaps = [HOUR / self.per_contact_hour] if self.per_contact_hour else []
        gaps += [MINUTE / self.per_webhook_minute] if self.per_webhook_minute else []
        return max(gaps, default=timedelta(0))


def _free_at(sent: Sequence[datetime], most: int, period: timedelta, now: datetime) -> datetime:
    """In any `period`, which rolls, there are `most` at most."""
    recent = sorted(moment for moment in sent if moment > now - period)
    return recent[-most] + period if most and len(recent) >= most else now


def mailbox(address: str) -> str:
    """What addresses have in common that lead to one mailbox: their case, quotation marks, and a tag behind a plus mean
    nothing to most mail servers."""
    local, _, domain = address.casefold().rpartition("@")
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    local, domain = local.partition("+")[0] or local, domain.rstrip(".")
    if domain in _WITHOUT_DOTS:
        local, domain = local.replace(".", ""), "gmail.com"
    return f"{local}@{domain}"
