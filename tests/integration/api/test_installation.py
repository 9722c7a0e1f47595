"""What the API tells of the installation."""

import pytest

from dispatcher import __version__
from dispatcher.accounts.api_keys import Scope
from tests.integration.api.conftest import Api, MakeKey, Restarted


def test_a_customer_sees_where_callbacks_come_from(
    api: Api, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch, restarted: Restarted
) -> None:
    token = make_key("acme", Scope.READ)
    assert api.call("GET", "/v1/installation", token=token).json() == {"version": __version__, "egress_ranges": []}
    monkeypatch.setenv("DISPATCHER_EGRESS_RANGES", "203.0.113.0/24, 2001:db8::/48")
    restarted()
    told = api.call("GET", "/v1/installation", token=token).json()
    assert told["egress_ranges"] == ["203.0.113.0/24", "2001:db8::/48"]
    assert api.call("GET", "/v1/installation", token=make_key("acme", Scope.SEND)).status_code == 403
