"""What an explanation says about those who are told of a webhook's errors."""

from datetime import timedelta

import pytest

from dispatcher.webhooks.explanation.situation import LastNotice
from dispatcher.webhooks.explanation.webhook import explain_webhook
from tests.unit.dispatcher.webhooks.explanation.situations import NOW, record, webhook

SENT = LastNotice("http_503", NOW, None, NOW - timedelta(hours=1), 3)


@pytest.mark.parametrize(
    ("state", "codes"),
    [
        (None, ["no_contact"]),
        ("confirmed", ["notice_sent"]),
        ("unconfirmed", ["notice_sent", "contact_unconfirmed"]),
        ("unsubscribed", ["contact_unsubscribed"]),
    ],
)
def test_it_says_whether_somebody_gets_mails(state: str | None, codes: list[str]) -> None:
    said = [
        str(sentence.code) for sentence in explain_webhook(record(webhook(), contact_state=state, notice=SENT), NOW)
    ]
    assert [code for code in said if "contact" in code or "notice" in code] == codes


@pytest.mark.parametrize("state", ["confirmed", "unconfirmed"])
def test_without_a_mail_server_it_promises_no_mail(state: str) -> None:
    due = LastNotice("http_400", NOW, NOW + timedelta(hours=1), None, 0)
    found = record(webhook(), contact_state=state, notice=due, are_mailed=False)
    said = explain_webhook(found, NOW)
    assert [sentence.code for sentence in said if "mail" in sentence.text] == ["nothing_mailed"]
