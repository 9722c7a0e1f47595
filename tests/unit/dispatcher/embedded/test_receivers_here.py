"""Development mode, judged by the egress policy itself."""

import pytest

from dispatcher.egress.address_policy import AddressPolicy
from dispatcher.egress.special_addresses import SERVICES
from dispatcher.embedded.receivers_here import with_this_machine
from dispatcher.settings import Settings, environment_name

URLS = {"DATABASE_URL": "postgresql://h/d", "BROKER_URL": "redis://h/0"}


def policy(variables: dict[str, str]) -> AddressPolicy:
    fields = {environment_name(name): name for name in Settings.model_fields}
    return Settings.model_validate({fields[name]: text for name, text in {**URLS, **variables}.items()}).addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "app.localhost"])
def test_this_machine_may_be_called_at_every_port_from_1024_on(host: str) -> None:
    allowed, usual = policy(with_this_machine({})), policy({})
    assert [
        port for port in (*SERVICES, 1024, 65535) if (port >= 1024) is bool(allowed.refused_origin("http", host, port))
    ] == []
    assert usual.refused_origin("http", host, 9000)


def test_what_was_allowed_stays_allowed_and_nothing_else_is() -> None:
    given = {"DISPATCHER_ALLOWED_NETWORKS": "10.1.0.0/16", "DISPATCHER_ALLOWED_PORTS": "25"}
    allowed = policy(with_this_machine(given))
    assert allowed.refused_origin("http", "10.1.2.3", 80) is None
    assert allowed.refused_origin("http", "127.0.0.1", 25) is None
    for host in ("10.2.0.1", "192.168.0.1", "169.254.169.254", "::ffff:127.0.0.1"):
        assert allowed.refused_origin("http", host, 80), host
