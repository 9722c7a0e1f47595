"""Makes the message of a claimed mail."""

from email.message import EmailMessage
from typing import Any

from dispatcher.accounts.contact_states import ContactState
from dispatcher.accounts.mail_links import LinksOfMail
from dispatcher.errors import Unreadable
from dispatcher.masking.messages import Names, hidden_in, mask_echo
from dispatcher.transport.told import told_detail
from dispatcher.webhooks.notices import NoticeKind
from workers.notices.claiming import ClaimedMail, Unusable
from workers.notices.digests import line_of, render_digest
from workers.notices.invitations import Invitation, render_invitation
from workers.notices.mailer import Mailer, PermanentFailure
from workers.notices.texts import Footer, MailText, Problem, render
from workers.notices.turns import Turn


def message_of(mail: ClaimedMail, mailer: Mailer) -> EmailMessage | PermanentFailure | Unusable:
    try:
        return _message(mail, mailer)
    except Exception as error:  # noqa: BLE001 - no row may stop the others, whatever is in it
        return Unusable(mail.first.id, error)


def _message(mail: ClaimedMail, mailer: Mailer) -> EmailMessage | PermanentFailure:
    links = mailer.links_for(mail.standing.recipient, mail.claimed_at)
    words = _words(mail, mailer, links)
    message = mailer.message(
        to=mail.contact,
        subject=words.subject,
        plain=words.plain,
        html=words.html,
        # The same for each try of this mail, another one for the next mail about the same error.
        message_id=f"{mail.first.id.hex}.{int(mail.first.observed_at.timestamp() * 1000)}",
        date=mail.claimed_at,
        unsubscribe=links.unsubscribe if links is not None else None,
    )
    if message is None:
        return PermanentFailure("the contact is not an address that a mail can be sent to")
    return message


def _words(mail: ClaimedMail, mailer: Mailer, links: LinksOfMail | None) -> MailText:
    problem = _problem(mail.facts, mail.turn, mailer.masked_members)
    if mail.standing.state is not ContactState.CONFIRMED:
        return render_invitation(
            Invitation(
                problem.kind, problem.fingerprint, problem.observed_at, problem.webhook_id, mail.turn.waiting, links
            ),
            sender=mailer.sender,
            contact=mail.contact,
        )
    unsubscribe = links.unsubscribe if links is not None else None
    footer = Footer(mailer.sender, mail.contact, problem.account, unsubscribe)
    if mail.lines:
        return render_digest([line_of(row) for row in mail.lines], outdated=problem.outdated, footer=footer)
    return render(problem, footer=footer, now=mail.claimed_at)


def _problem(facts: Any, turn: Turn, masked: Names) -> Problem:
    if facts.kind not in set(NoticeKind):
        raise Unreadable("its kind is unknown")
    return Problem(
        kind=NoticeKind(facts.kind),
        fingerprint=facts.fingerprint,
        observed_at=facts.observed_at,
        retry_at=facts.retry_at,
        suppressed=facts.suppressed_count,
        reported_before=facts.sent_count > 0,
        outdated=turn.outdated,
        account=facts.account,
        webhook_id=facts.webhook_id,
        webhook_name=facts.webhook_name,
        url_masked=facts.url_masked,
        webhook_enabled=facts.enabled,
        disabled_reason=facts.disabled_reason,
        delivery_id=facts.delivery_id,
        delivery_state=facts.delivery_state,
        delivery_reason=facts.delivery_reason,
        attempt=facts.attempt,
        event_id=facts.event_id,
        event_type=facts.event_type,
        subject=facts.subject,
        failure_detail=told_detail(facts.fingerprint, facts.failure_detail) if facts.failure_detail else None,
        answer=_answer(facts, masked),
        answer_cut=bool(facts.answer_cut),
    )


def _answer(facts: Any, masked: Names) -> bytes | None:
    """The answer's body as it may be shown. With masked members a batch's is left out: it may repeat any of the
    messages, and not all of them are at hand."""
    if facts.answer_excerpt is None or (masked and facts.of_batch):
        return None
    answer, message = bytes(facts.answer_excerpt), bytes(facts.data) if facts.data is not None else None
    if not masked:
        return answer
    text = answer.decode(errors="surrogateescape")
    return mask_echo(text, hidden_in(message, masked), cut=bool(facts.answer_cut)).encode(errors="surrogateescape")
