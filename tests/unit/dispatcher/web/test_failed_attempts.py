"""An address may fail so often in a minute; the table of those that did is bounded."""

import pytest

from dispatcher.web import failed_attempts
from dispatcher.web.failed_attempts import PER_MINUTE, FailedAttempts, counted_as


def test_an_address_may_fail_so_often_at_once_and_once_more_each_second() -> None:
    failures = FailedAttempts()
    for _ in range(PER_MINUTE):
        assert failures.seconds_to_wait("a", 100.0) == 0
        failures.add("a", 100.0)
    failures.add("a", 100.0)
    assert failures.seconds_to_wait("a", 100.0) == 1
    assert failures.seconds_to_wait("b", 100.0) == 0
    assert failures.seconds_to_wait("a", 101.0) == 0
    failures.add("a", 101.0)
    assert failures.seconds_to_wait("a", 101.0) == 1
    assert failures.seconds_to_wait("a", 300.0) == 0


def test_nobody_is_told_to_wait_for_more_than_a_minute() -> None:
    failures = FailedAttempts()
    for _ in range(10_000):
        failures.add("a", 100.0)
    assert failures.seconds_to_wait("a", 100.0) == 60
    assert failures.seconds_to_wait("a", 161.0) == 0


def test_the_addresses_that_failed_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_attempts, "_MOST_ADDRESSES", 3)
    failures = FailedAttempts()
    for address in "abcad":
        for _ in range(PER_MINUTE + 1):
            failures.add(address, 100.0)
    assert [bool(failures.seconds_to_wait(address, 100.0)) for address in "abcd"] == [True, False, True, True]


def test_networks_of_one_subscriber_may_together_fail_ten_times_as_often() -> None:
    failures, networks = FailedAttempts(), [counted_as(f"2001:db8:1:{number:x}::1") for number in range(100)]
    tried = 0
    while not failures.seconds_to_wait(networks[tried % 100], 100.0):
        failures.add(networks[tried % 100], 100.0)
        tried += 1
    assert tried == 10 * PER_MINUTE + 1
    assert failures.seconds_to_wait(counted_as("2001:db8:1:ffff::1"), 100.0) == 1
    assert failures.seconds_to_wait(counted_as("2001:db8:2::1"), 100.0) == 0
    assert failures.seconds_to_wait(counted_as("2001:db8:1:ffff::1"), 101.0) == 0


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0\x1b[2J", "fe80::/64"),
        (None, ""),
        ("", ""),
        ("unknown", ""),
    ],
)
def test_an_address_of_version_6_is_counted_with_its_network(host: str | None, counted: str) -> None:
    assert counted_as(host) == counted
