"""Quotas: how they are written, and which one holds."""

from typing import Any

import pytest

from dispatcher.settings import Settings
from dispatcher.settings.quotas import DEFAULTS, KINDS, MOST, Quota, limit_of, limits_of, read_limits, too_many


def test_every_quota_has_a_unit_and_a_default_that_may_be_set() -> None:
    assert KINDS.keys() == set(Quota)
    assert read_limits(",".join(f"{quota}={limit or 'off'}" for quota, limit in DEFAULTS.items())) == DEFAULTS


def test_own_limits_come_first_and_null_is_no_limit() -> None:
    own = {"webhooks": 5, "keys": None}
    assert limits_of(own, DEFAULTS) == {**DEFAULTS, Quota.WEBHOOKS: 5, Quota.KEYS: None}
    assert limits_of(None, DEFAULTS) == DEFAULTS


@pytest.mark.parametrize("odd", [0, -1, True, 1.5, "7", [1], {}, MOST + 1])
def test_a_stored_value_that_is_no_limit_counts_as_none_of_its_own(odd: Any) -> None:
    assert limit_of(Quota.WEBHOOKS, {"webhooks": odd, "of_a_newer_version": 3}, DEFAULTS) == 1_000


def test_the_installation_sets_defaults_for_all_accounts() -> None:
    settings = Settings(database_url="postgresql://h/d", broker_url="redis://h", account_limits="keys=3, webhooks=off")  # type: ignore[arg-type]
    assert settings.default_limits == {**DEFAULTS, Quota.KEYS: 3, Quota.WEBHOOKS: None}


def test_what_is_told_has_name_and_value() -> None:
    for quota in Quota:
        assert f"`{quota}`" in too_many(quota, 12_345)
        assert "12,345" in too_many(quota, 12_345)
