"""When the next mail may go, and which addresses share a limit."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules.mail_limits import HOUR, MINUTE, MailLimits, SentBefore, mailbox

NOW = datetime(2025, 8, 1, 12, tzinfo=UTC)
LIMITS = MailLimits(per_contact_hour=3, per_webhook_minute=1, per_account_hour=0, per_hour=0)

NO_LIMITS = MailLimits(0, 0, 0, 0)


def ago(*seconds: float) -> list[datetime]:
    return [NOW - timedelta(seconds=number) for number in seconds]


@pytest.mark.parametrize(
    ("to_contact", "of_webhook", "wait"),
    [
        ([], [], 0),
        (ago(3599, 60), [], 0),
        (ago(1, 100, 3599), [], 1),
        (ago(1, 100, 3600), [], 0),
        (ago(1, 2, 3, 10), [], 3597),
        ([], ago(59), 1),
        ([], ago(60), 0),
        (ago(1, 2, 3), ago(1), 3597),
        (ago(1, 2, 3590), ago(1), 59),
        (ago(-0.5), ago(-0.5), 60.5),
    ],
)
def test_the_next_mail_waits_for_the_later_of_both_limits(
    to_contact: list[datetime], of_webhook: list[datetime], wait: float
) -> None:
    free_at = LIMITS.free_at(SentBefore(to_contact, of_webhook), now=NOW)
    assert free_at - NOW == timedelta(seconds=wait)


def test_the_account_and_the_installation_have_limits_of_their_own() -> None:
    limits = MailLimits(per_contact_hour=0, per_webhook_minute=0, per_account_hour=2, per_hour=3)
    for sent, wait in (
        (SentBefore(of_account=ago(10, 20)), 3580),
        (SentBefore(of_account=ago(10)), 0),
        (SentBefore(of_all=ago(10, 20, 30)), 3570),
        (SentBefore(of_account=ago(10, 20), of_all=ago(1, 2, 3)), 3597),
    ):
        assert limits.free_at(sent, now=NOW) - NOW == timedelta(seconds=wait)


def test_to_a_contact_that_is_not_confirmed_one_mail_goes_in_a_day_whatever_is_set() -> None:
    (before,) = ago(3600)
    assert NO_LIMITS.free_at(SentBefore(is_confirmed=False, unconfirmed=before), now=NOW) == NOW + timedelta(hours=23)


def test_to_strangers_go_a_fifth_as_many_whatever_the_mailbox_gets_from_others() -> None:
    limits = MailLimits(per_contact_hour=1, per_webhook_minute=0, per_account_hour=10, per_hour=20)
    for sent, strangers, others in (
        (SentBefore(of_account=ago(30, 20), of_all=ago(30, 20)), 3570, 0),
        (SentBefore(of_account=ago(30), of_all=ago(30)), 0, 0),
        (SentBefore(of_account=ago(*range(10)), of_all=ago(*range(10))), 3599, 3591),
        (SentBefore(of_all=ago(4, 3, 2, 1)), 3596, 0),
        (SentBefore(to_contact=ago(100)), 0, 3500),
    ):
        assert limits.free_at(replace(sent, is_confirmed=False), now=NOW) - NOW == timedelta(seconds=strangers)
        assert limits.free_at(sent, now=NOW) - NOW == timedelta(seconds=others)


@given(st.lists(st.sampled_from("aab"), min_size=1, max_size=100), st.integers(0, 40))
def test_of_the_mails_to_strangers_an_account_leaves_half_to_others(wanted: list[str], per_hour: int) -> None:
    limits, now, sent = MailLimits(0, 0, 0, per_hour), NOW, list[tuple[str, datetime]]()
    for account in wanted:
        now += timedelta(seconds=1)
        of_account = [moment for other, moment in sent if other == account]
        before = SentBefore(of_account=of_account, of_all=[moment for _, moment in sent], is_confirmed=False)
        if limits.free_at(before, now=now) == now:
            sent.append((account, now))
    most = -(-per_hour // 5)
    assert len(sent) <= most or not most
    for account in "ab":
        own = sum(other == account for other, _ in sent)
        assert own <= (most + 1) // 2 or not most
        assert own or account not in wanted or len(sent) == most or most == 1


def test_zero_is_no_limit() -> None:
    many = ago(*range(500))
    for is_confirmed in (True, False):
        assert NO_LIMITS.free_at(SentBefore(many, many, many, many, is_confirmed), now=NOW) == NOW


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 3))
def test_no_hour_and_no_minute_has_more_than_its_limit(gaps: list[int], hourly: int, minutely: int) -> None:
    limits, now, sent = MailLimits(hourly, minutely, 0, 0), NOW, []
    for gap in gaps:
        now = limits.free_at(SentBefore(sent, sent), now=now + timedelta(seconds=gap))
        sent.append(now)
    for moment in sent:
        assert sum(moment - HOUR < other <= moment for other in sent) <= hourly
        assert sum(moment - MINUTE < other <= moment for other in sent) <= minutely


@pytest.mark.parametrize(
    "spelling",
    [
        "ops@acme.test", "Ops@Acme.TEST", "OPS@acme.test", "ops@acme.test.", "ops+1@acme.test", "ops+a+b@ACME.test",
        '"ops+ a"@acme.test', '"ops+@"@acme.test', '"ops"@acme.test', r'"op\s+ "@acme.test',
    ],
)  # fmt: skip
def test_spellings_of_one_mailbox_share_its_limit(spelling: str) -> None:
    assert mailbox(spelling) == "ops@acme.test"


@pytest.mark.parametrize(
    "spelling", ["o.p.s@gmail.com", "ops@gmail.com", "o.ps+1@Gmail.com", "op.s@googlemail.com", '"o.p.s+ "@gmail.com']
)
def test_dots_are_nothing_where_the_provider_passes_them_over(spelling: str) -> None:
    assert mailbox(spelling) == "ops@gmail.com"
    assert mailbox("o.ps@acme.test") != "ops@acme.test"


@pytest.mark.parametrize("other", ["op@acme.test", "ops@acme.example", "ops@sub.acme.test", "+ops@acme.test"])
def test_other_mailboxes_do_not(other: str) -> None:
    assert mailbox(other) != "ops@acme.test"
