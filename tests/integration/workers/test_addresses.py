"""The egress policy and TLS in a whole delivery: what is refused is recorded, retried by the schedule, and mailed."""

import ssl
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.settings import Settings
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.threaded.transport import RequestsTransport
from tests.allowed import LOOPBACK_VARIABLES
from tests.certificates import Authority, new_authority
from tests.dns_server import DnsServer
from tests.factories import (
    MESSAGE,
    RECEIVED,
    attempts,
    change,
    deliver_all,
    deliveries,
    make_due,
    make_webhook,
    sweep_once,
)
from tests.installations import worker_for
from tests.integration.workers.notices.conftest import mailer_for
from tests.mail_server import MailServer
from tests.receiver import Receiver
from workers.loop import DeliveryLoop
from workers.notices.send import send_due


@pytest.fixture(params=["curl", "requests"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    return settings.model_copy(update={"transport": request.param})


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


def stricter(settings: Settings) -> Settings:
    """As after an operator has emptied the allow-list: the webhooks are registered already."""
    return settings.model_copy(update={"allowed_networks": ""})


def the_end(database: Engine) -> tuple[str, str | None, str | None]:
    """Where the only delivery stands, and what became of its last attempt."""
    (delivery,) = deliveries(database)
    attempt = attempts(database)[-1]
    return delivery.state, attempt.failure, attempt.failure_detail


def test_a_refused_address_is_an_attempt_that_failed_and_the_delivery_waits_for_its_retry(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook?secret=abc"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    assert deliver_all(stricter(settings)) == {"claimed": 1, "delivered": 0, "retried": 1, "discarded": 0}
    assert receiver.connections == 0
    (delivery,), (attempt,) = deliveries(database), attempts(database)
    assert (delivery.state, delivery.attempt_count, delivery.schedule_step) == ("waiting", 1, 1)
    assert (attempt.verdict, attempt.status) == ("temporary", None)
    assert (attempt.failure, attempt.failure_detail) == ("address_refused", "a loopback address")

    make_due(database)
    sweep_once(settings)
    assert deliver_all(settings)["delivered"] == 1  # allowed again
    assert len(receiver.received) == 1


def test_the_mail_about_it_says_what_to_do_and_not_where_the_name_led(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook?secret=planted"), contact_email="ops@acme.test")
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(stricter(settings))
    with MailServer() as mail_server:
        send_due(database, mailer_for(settings, mail_server.port))
        (mail,) = mail_server.messages
    for form in ("plain", "html"):
        text = " ".join(mail.body(form).split())
        assert "was not called: its URL leads to no public address that callbacks may go to." in text
        assert "check the DNS records of the host name" in text
        assert "does not lead to a public address" in text
        assert "loopback" not in text
        assert "planted" not in text


def test_a_name_that_leads_elsewhere_between_two_attempts_is_refused_at_the_second(
    database: Engine, settings: Settings, receiver: Receiver, dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.transport.curl.dns_cache.KEPT_SECONDS", -1)
    dns.script("hook.example", ("127.0.0.1",), ("::1", "169.254.169.254"))
    make_webhook(database, settings, url=f"http://hook.example:{receiver.port}/status/503")
    enqueue(RECEIVED, MESSAGE, account="acme")
    only_ipv4 = settings.model_copy(update={"allowed_networks": "127.0.0.1"})
    deliver_by_dns(only_ipv4, dns)
    assert the_end(database) == ("waiting", None, None)
    assert attempts(database)[0].status == 503
    make_due(database)
    sweep_once(settings)
    deliver_by_dns(only_ipv4, dns)
    state, failure, detail = the_end(database)
    assert (state, failure) == ("waiting", "address_refused")
    assert detail in {"a loopback address", "a cloud's metadata address"}
    assert len(receiver.received) == 1


def deliver_by_dns(settings: Settings, dns: DnsServer) -> None:
    """One delivery loop whose names are looked up at the server of the test."""
    context = worker_for(settings)
    transport = CurlTransport if settings.transport == "curl" else RequestsTransport
    context.transport = transport(capacity=8, addresses=settings.addresses, resolve=dns.resolve)
    try:
        DeliveryLoop(context).run()
    finally:
        context.drop_transport()


def test_a_webhook_with_http_is_not_called_once_only_https_may_be_used(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url())
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings.model_copy(update={"https_only": True}))
    assert the_end(database) == ("waiting", "address_refused", "plain http, where only https may be used")
    assert receiver.connections == 0


def test_a_contract_with_https_only_holds_at_each_attempt(
    database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, url=receiver.url())
    # As if it had come some other way: registration refuses it.
    change(
        database,
        """UPDATE dispatcher.webhooks SET contract = contract || '{"https_only": true}', version = version + 1""",
    )
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver_all(settings)
    assert the_end(database) == ("waiting", "address_refused", "plain http, where only https may be used")
    assert receiver.connections == 0


@pytest.mark.parametrize(("minimum", "state"), [("1.2", "delivered"), ("1.3", "waiting")])
def test_the_oldest_version_of_tls_and_the_authorities_are_those_of_the_settings(
    database: Engine, settings: Settings, authority: Authority, minimum: str, state: str
) -> None:
    context = authority.server("127.0.0.1")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Receiver(tls=context) as receiver:
        make_webhook(database, settings, url=receiver.url(), contract={"https_only": True})
        enqueue(RECEIVED, MESSAGE, account="acme")
        deliver_all(settings.model_copy(update={"ca_bundle": authority.bundle, "tls_minimum": minimum}))
    expected = None if state == "delivered" else "tls"
    assert the_end(database)[:2] == (state, expected)


def test_a_certificate_of_an_authority_that_is_not_in_the_bundle_is_refused(
    database: Engine, settings: Settings, authority: Authority
) -> None:
    with Receiver(tls=authority.server("127.0.0.1")) as receiver:
        make_webhook(database, settings, url=receiver.url())
        enqueue(RECEIVED, MESSAGE, account="acme")
        deliver_all(settings)
        assert receiver.received == []
    assert the_end(database)[:2] == ("waiting", "tls")


def test_the_suite_itself_runs_with_the_guard_on(settings: Settings) -> None:
    assert not settings.addresses.any_address
    assert settings.allowed_networks == LOOPBACK_VARIABLES["DISPATCHER_ALLOWED_NETWORKS"]
