"""Settings that are lists are read when they are set, so that a mistake is told at start."""

import pytest
from pydantic import ValidationError

from dispatcher.settings import Settings


@pytest.mark.parametrize(
    ("field", "good"),
    [
        ("allowed_networks", "10.0.0.0/8"),
        ("allowed_hosts", "hooks.example"),
        ("allowed_ports", "25"),
        ("egress_ranges", "192.0.2.0/24"),
        ("account_limits", "webhooks=5"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_naming_the_entry(field: str, good: str) -> None:
    urls = {"database_url": "postgresql://h/d", "broker_url": "redis://h"}
    with pytest.raises(ValidationError, match="entry 2 is no"):
        Settings(**urls, **{field: f"{good}, no such thing!"})  # type: ignore[arg-type]


def test_egress_ranges_are_networks_and_single_addresses() -> None:
    ranges = "203.0.113.0/24, 2001:db8::/48,198.51.100.7"
    settings = Settings(database_url="postgresql://h/d", broker_url="redis://h", egress_ranges=ranges)  # type: ignore[arg-type]
    assert settings.egress_ranges == ranges
    with pytest.raises(ValidationError, match="is not a network"):
        Settings(database_url="postgresql://h/d", broker_url="redis://h", egress_ranges="203.0.113.1/24")  # type: ignore[arg-type]
