"""Which addresses are this machine's own: the system says so, and psutil lists them in another way."""

import socket

import psutil
import pytest

from dispatcher.settings import Settings
from dispatcher.settings.own_addresses import is_own

OF_NOBODY_HERE = ("8.8.8.8", "198.51.100.7", "2606:4700:4700::1111", "2001:db8::77")


def listed() -> set[str]:
    """Those of all interfaces, except the addresses of a single link: no receiver has one."""
    found = [one for interface in psutil.net_if_addrs().values() for one in interface]
    usable = {one.address for one in found if one.family in {socket.AF_INET, socket.AF_INET6}}
    return {address for address in usable if "%" not in address and not address.startswith("fe80")}


def test_those_of_all_interfaces_are_own_and_no_others() -> None:
    assert "127.0.0.1" in listed()
    assert [address for address in sorted(listed()) if not is_own(address)] == []
    assert [address for address in OF_NOBODY_HERE if is_own(address)] == []


def test_a_system_on_which_sockets_may_have_any_address_makes_no_other_address_an_own_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dispatcher.settings.own_addresses._can_bind", lambda *_: True)  # `ip_nonlocal_bind`
    assert [address for address in OF_NOBODY_HERE if is_own(address)] == []
    assert is_own("127.0.0.1")


def test_what_is_no_address_is_nobodys() -> None:
    for text in ("fe80::1%eth0", "1.2.3", "hook.example", "::g"):
        assert not is_own(text), text


def test_the_policy_of_the_settings_asks_about_them() -> None:
    urls = {"database_url": "postgresql://a:b@localhost/c", "broker_url": "redis://:p@localhost/0"}
    assert Settings.model_validate(urls).addresses.is_own is is_own
