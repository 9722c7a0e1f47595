"""What a mail says that reports several problems: those that were held back for one contact."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from dispatcher.webhooks.notices import NoticeKind
from workers.notices.texts import Footer, MailText, mail_text, name_of, what_happened

MOST_LINES = 50

_HAPPENED = {
    NoticeKind.MESSAGE_RETRYING: "a message is retried",
    NoticeKind.MESSAGE_DISCARDED: "a message was discarded",
    NoticeKind.WEBHOOK_DISABLED: "the webhook was disabled",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One problem."""

    webhook_id: UUID
    webhook: str  # its name
    url_masked: str
    happened: str
    what: str
    observed_at: datetime
    suppressed: int
    delivery_id: UUID


def line_of(row: Any) -> Line:
    """From a row of the database, whatever is in it: one odd row must not keep the others from being told."""
    try:
        what = what_happened(row.fingerprint)
    except ValueError:  # a number that is too long to be a status
        what = "No callback could be completed."
    return Line(
        webhook_id=row.webhook_id,
        webhook=name_of(row.webhook_name, row.url_masked),
        url_masked=row.url_masked,
        happened=_HAPPENED[row.kind],
        what=what,
        observed_at=row.observed_at,
        suppressed=max(row.suppressed_count, 0),
        delivery_id=row.delivery_id,
    )


def render_digest(lines: Sequence[Line], *, outdated: int, footer: Footer) -> MailText:
    """`lines` are those of one webhook after the other. Only the first ones are shown, and the number of the others."""
    webhooks: dict[UUID, list[Line]] = {}
    for line in lines[:MOST_LINES]:
        webhooks.setdefault(line.webhook_id, []).append(line)
    names = Counter(line.webhook for line in lines)
    (name, _), *others = names.most_common()
    facts = {
        "count": len(lines),
        "webhooks": list(webhooks.values()),
        "left_out": max(len(lines) - MOST_LINES, 0),
        "outdated": outdated,
    }
    subject = f"{len(lines)} problems: {name}" + (f" and {len(others)} more" if others else "")
    return mail_text("digest", subject, facts, footer)
