from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.transport.exchange import Exchange, Failure, FailureKind, Reply, Request
from workers.results import host_faults
from workers.results.host_faults import (
    EXCLUDED,
    NEEDED,
    OUTWEIGHED,
    SETTLE,
    TRIALS,
    TRY_EVERY,
    WINDOW,
    HostFaults,
    Step,
    Whose,
    site_of,
    steps_made,
)

MANY = 50


class Host:
    """What one process sees, second by second."""

    def __init__(self, *, accounts: int = NEEDED, webhooks: int = NEEDED) -> None:
        self.faults, self.now = HostFaults(), 1000.0
        self.faults.accounts, self.faults.webhooks = accounts, webhooks

    def fail(
        self, *sites: int, step: Step = Step.TLS, account: int | None = None, is_new: bool = True, took: float = 0.0
    ) -> list[Whose]:
        """Requests to sites fail, each of an account of its own unless one is given."""
        now, faults = self.now, self.faults
        return [
            faults.failed(step, f"{site}.example", account or site, now, began=now - took, is_new=is_new)
            for site in sites
        ]

    def succeed(self, *sites: int, step: Step = Step.TLS) -> None:
        for site in sites:
            self.faults.made(step, f"{site}.example", site, self.now)

    def wait(self, seconds: float) -> "Host":
        self.now += seconds
        self.faults.settle(self.now)
        return self

    @property
    def is_open(self) -> bool:
        return bool(self.faults.open)


@pytest.mark.parametrize("step", Step)
def test_unrelated_receivers_that_begin_to_fail_at_once_are_the_hosts_fault_after_a_moment(step: Step) -> None:
    host = Host()
    assert host.fail(*range(NEEDED), step=step) == [Whose.UNKNOWN] * NEEDED
    assert host.faults.is_suspected
    assert not host.wait(SETTLE / 2).is_open
    assert host.wait(SETTLE / 2).faults.open.keys() == {step}
    assert host.fail(NEEDED + 1, step=step) == host.fail(7, step=step, is_new=False) == [Whose.OURS]


def test_fewer_than_that_never_are() -> None:
    host = Host()
    host.fail(*range(NEEDED - 1))
    assert not host.wait(SETTLE).wait(WINDOW / 2).is_open


def test_what_is_spread_over_more_than_the_window_is_not_either() -> None:
    host = Host()
    for site in range(2 * NEEDED):
        host.fail(site)
        assert not host.wait(WINDOW / 2 + 1).is_open


def test_one_account_never_is_however_many_hosts_it_has_while_there_are_others() -> None:
    for accounts in (2, NEEDED):
        host = Host(accounts=accounts)
        host.fail(*range(1, 1_000), account=1)
        assert not host.wait(SETTLE).wait(1).is_open
        host.fail(2_000, account=2)
        assert host.wait(SETTLE).is_open == (accounts == 2)  # all accounts that there are


def test_one_account_is_where_there_is_no_other() -> None:
    host = Host(accounts=1)
    host.fail(*range(NEEDED), account=1)
    assert host.wait(SETTLE).is_open


def test_one_site_never_is_however_many_accounts_have_webhooks_there() -> None:
    host = Host()
    for account in range(MANY):
        host.fail(1, account=account)
    assert not host.wait(SETTLE).wait(1).is_open


def test_an_installation_with_two_webhooks_has_no_host_faults() -> None:
    host = Host(accounts=1, webhooks=NEEDED - 1)
    assert host.fail(1, 2, 3) == [Whose.RECEIVERS] * 3
    assert host.faults.calm


def test_receivers_that_failed_before_are_no_evidence() -> None:
    host = Host()
    assert host.fail(*range(MANY), is_new=False) == [Whose.RECEIVERS] * MANY
    assert host.faults.calm


def test_one_that_gets_through_meanwhile_speaks_against_it() -> None:
    host = Host()
    host.fail(*range(OUTWEIGHED))
    host.succeed(100)
    assert not host.wait(SETTLE).is_open
    assert host.faults.calm


def test_a_few_that_get_through_do_not_where_many_more_fail() -> None:
    host = Host()
    host.fail(*range(3 * OUTWEIGHED))
    host.succeed(100, 101)
    assert host.wait(SETTLE).is_open


def test_success_at_another_step_says_nothing() -> None:
    host = Host()
    host.fail(*range(NEEDED), step=Step.TLS)
    host.succeed(*range(100, 200), step=Step.DNS)
    host.succeed(*range(100, 200), step=Step.ROUTE)
    assert host.wait(SETTLE).is_open


def test_what_fails_while_others_get_through_is_no_evidence_until_it_gets_through_itself() -> None:
    host = Host()
    host.fail(1, 2, 3)
    host.succeed(100)
    assert host.fail(1, 2, 3) == [Whose.RECEIVERS] * 3
    host.wait(EXCLUDED[0] - 1).succeed(1, 2, 3)
    assert host.fail(1, 2, 3) == [Whose.UNKNOWN] * 3


def test_their_own_failures_are_forgotten_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    host.fail(1, 2, 3)
    host.succeed(100)
    assert host.wait(EXCLUDED[0]).fail(1) == [Whose.UNKNOWN]
    monkeypatch.setattr(host_faults, "EXCLUDED", (600.0, 10))
    for site in range(1_000):
        host.fail(site)
        host.succeed(site + 5_000)
    assert len(host.faults._excluded) <= 10


def test_the_first_who_gets_through_ends_a_fault_that_few_had() -> None:
    host = Host()
    host.fail(*range(NEEDED))
    host.wait(SETTLE).succeed(1)
    assert not host.is_open
    assert (host.faults.calm, host.faults.claims_at) == (True, 0.0)


def test_what_was_sent_during_a_fault_and_fails_after_it_is_still_its() -> None:
    host = Host()
    host.fail(*range(NEEDED))
    host.wait(SETTLE).wait(3).succeed(1)
    host.wait(2)
    assert host.fail(5, took=2.5) == [Whose.OURS]
    assert host.faults.calm
    assert host.fail(5, took=1.5) == [Whose.UNKNOWN]


def test_of_many_that_fail_more_must_get_through() -> None:
    host = Host()
    host.fail(*range(1_000))
    host.wait(SETTLE).succeed(*range(9))
    assert host.is_open
    host.succeed(9, 10)
    assert not host.is_open


def test_during_a_fault_groups_of_requests_are_tried_with_pauses_or_at_once_while_something_is_answered() -> None:
    host = Host()
    host.faults.claimed(host.now)
    assert (host.faults.room(400), host.faults.claims_at) == (400, 0.0)
    host.fail(*range(NEEDED))
    assert (host.faults.room(400), host.faults.room(1)) == (TRIALS, 1)  # already while it is suspected
    host.faults.claimed(host.now)
    assert host.faults.claims_at == host.now + TRY_EVERY
    host.wait(SETTLE)
    assert host.faults.claims_at == host.now + TRY_EVERY
    host.wait(TRY_EVERY)
    host.faults.claimed(host.now)
    assert host.faults.claims_at == host.now + TRY_EVERY
    host.faults.got_through(host.now)
    assert host.faults.claims_at == host.now


def test_what_another_process_of_this_host_found_needs_one_failure_here_and_no_success() -> None:
    host = Host()
    host.faults.told = frozenset({"tls"})
    assert not host.wait(SETTLE).is_open
    assert host.fail(1, step=Step.DNS) == [Whose.UNKNOWN]
    assert host.fail(2) == [Whose.OURS]
    host.succeed(3)
    assert not host.is_open


def test_the_evidence_that_is_kept_is_bounded() -> None:
    host = Host()
    host.fail(*range(10_000))
    host.wait(SETTLE).fail(*range(10_000, 20_000))
    assert len(host.faults.evidence[Step.TLS].failing) == host_faults.MOST


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("example.com", "example.com"),
        ("hooks.eu.example.com", "example.com"),
        ("hooks.example.com.", "example.com"),
        ("a.example.co.za", "example.co.za"),
        ("example.co.za", "example.co.za"),
        ("localhost", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_hosts_of_one_owner_are_one_site(host: str, site: str) -> None:
    assert site_of(host) == site


DNS, ROUTE, TLS = Step
REPLY = Reply(500, (), b"")


@pytest.mark.parametrize(
    ("outcome", "scheme", "anew", "made"),
    [
        (REPLY, "https", {"looked_up": True, "connected": True}, [DNS, ROUTE, TLS]),
        (REPLY, "http", {"looked_up": True, "connected": True}, [DNS, ROUTE]),
        (REPLY, "https", {"connected": True}, [ROUTE, TLS]),  # its address was known
        (REPLY, "https", {}, []),  # on a connection that was kept
        (Failure(FailureKind.TIMEOUT, ""), "https", {"connected": True}, [ROUTE, TLS]),
        (Failure(FailureKind.CONNECTION_RESET, ""), "https", {"connected": True}, [ROUTE]),
        (Failure(FailureKind.TLS, ""), "https", {"looked_up": True, "connected": True}, [DNS, ROUTE]),
        (Failure(FailureKind.CONNECTION_REFUSED, ""), "https", {"looked_up": True, "connected": True}, [DNS]),
        (Failure(FailureKind.UNREACHABLE, ""), "https", {"connected": True}, []),
        (Failure(FailureKind.DNS, ""), "https", {"looked_up": True}, []),
        (Failure(FailureKind.TOKEN, "", FailureKind.TLS), "https", {}, []),
    ],
)
def test_a_request_shows_the_steps_to_work_that_it_made_itself(
    outcome: Reply | Failure, scheme: str, anew: dict[str, Any], made: list[Step]
) -> None:
    request = Request("1", "POST", f"{scheme}://example.com/", (), None, 1.0, 1.0)
    assert steps_made(Exchange(request, outcome, datetime.now(UTC), timedelta(0), **anew)) == made
