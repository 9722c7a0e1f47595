"""What a mail says to a contact that nobody has confirmed: the problem in our own words, and how to get more, or
nothing. No text of a customer or of a receiver is in it, so nobody can use it to tell a stranger something."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dispatcher.accounts.mail_links import LinksOfMail
from dispatcher.webhooks.notices import NoticeKind
from workers.notices.texts import Footer, MailText, mail_text, what_happened

_HAPPENED = {
    NoticeKind.MESSAGE_RETRYING: "A message could not be delivered to a webhook and is retried.",
    NoticeKind.MESSAGE_DISCARDED: "A message for a webhook was discarded.",
    NoticeKind.WEBHOOK_DISABLED: "A webhook was disabled.",
}


@dataclass(frozen=True, slots=True)
class Invitation:
    """One problem, as much of it as a stranger may read."""

    kind: NoticeKind
    fingerprint: str
    observed_at: datetime
    webhook_id: UUID
    waiting: int  # other notices that are held back
    links: LinksOfMail | None


def render_invitation(invitation: Invitation, *, sender: str, contact: str) -> MailText:
    """The mail about a problem, to a contact that is not confirmed."""
    facts = {
        "problem": invitation,
        "happened": _HAPPENED[invitation.kind],
        "what": what_happened(invitation.fingerprint),
        "links": invitation.links,
    }
    unsubscribe = invitation.links.unsubscribe if invitation.links is not None else None
    footer = Footer(sender, contact, "", unsubscribe)
    return mail_text("invitation", "Problem with a webhook: please confirm this address", facts, footer)
