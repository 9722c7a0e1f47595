"""A customer asks, by webhooks, which names and addresses the operator's network has, and learns nothing."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.receiver_auth.credentials import ClientCredentials
from dispatcher.settings import Settings
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.threaded.transport import RequestsTransport
from tests.dns_server import DnsServer
from tests.factories import MESSAGE, RECEIVED, attempts, make_account, make_webhook
from tests.installations import worker_for
from tests.integration.api.conftest import Api, MakeKey, errors
from tests.integration.cli.conftest import Cli
from tests.integration.workers.notices.conftest import mailer_for
from tests.mail_server import MailServer
from tests.receiver import Receiver
from workers.loop import DeliveryLoop
from workers.notices.send import send_due

NOT_PUBLIC = "does not lead to a public address"
# Each as the operator's DNS server knows it; None: there is no such name.
PLACES: dict[str, tuple[str, ...] | None] = {
    "missing": None,
    "empty": (),
    "private": ("10.1.2.3",),
    "loopback": ("127.0.0.1", "::1"),
    "metadata": ("169.254.169.254",),
    "carrier": ("100.64.7.7",),
    "internal6": ("fd00::17",),
}


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        for name, addresses in PLACES.items():
            if addresses is not None:
                server.script(f"{name}.corp.example", addresses)
        yield server


@pytest.fixture(params=["curl", "requests"])
def strict(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    return settings.model_copy(update={"transport": request.param, "allowed_networks": "", "allowed_hosts": ""})


def deliver(settings: Settings, dns: DnsServer) -> None:
    context = worker_for(settings)
    transport = CurlTransport if settings.transport == "curl" else RequestsTransport
    context.transport = transport(capacity=8, addresses=settings.addresses, resolve=dns.resolve)
    try:
        DeliveryLoop(context).run()
    finally:
        context.drop_transport()


def anonymous(text: str, names: tuple[str, ...]) -> str:
    """Without what differs between any two webhooks: ids, times, signatures, their own names."""
    text = re.sub("|".join(names), "NAME", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "TIME", text)
    text = re.sub(r"\d\d:\d\d:\d\d(\.\d+)?", "TIME", text)
    text = re.sub(r"((less than 1|\d+) s ago)|in 1 min( \d+ s)?|again in (less than 1|\d+) s", "AGO", text)
    text = re.sub(r"v1,[A-Za-z0-9+/]+=|\b1\d{9}\b", "SIGNED", text)
    return re.sub(r"\b\d+\.\d+\b|\b\d+ ms\b", "NUMBER", text)


def seen_with(token: str, api: Api, name: str, webhook: str) -> str:
    """All that a key is shown of a webhook and of the only delivery to it."""
    found = api.call("GET", f"/v1/deliveries?webhook={webhook}", token=token).json()["items"]
    (delivery,) = (each["id"] for each in found)
    answers = [
        api.call("GET", path, token=token)
        for path in (
            f"/v1/webhooks/{webhook}",
            f"/v1/webhooks/{webhook}/health",
            f"/v1/deliveries/{delivery}",
            f"/v1/notices?account=acme&webhook={webhook}",
            f"/v1/events?account=acme&subject={name}",
        )
    ]
    assert {answer.status_code for answer in answers} == {200}
    return "\n".join(answer.text for answer in answers)


def test_of_names_in_the_operators_network_a_customer_learns_not_even_which_exist(
    api: Api, make_key: MakeKey, cli: Cli, database: Engine, settings: Settings, strict: Settings, dns: DnsServer
) -> None:
    customer, operator = make_key("acme", Scope.READ), make_key(None, Scope.OPERATOR)
    names = tuple(PLACES)
    webhooks = {
        name: str(
            make_webhook(
                database,
                settings,
                url=f"http://{name}.corp.example/hook",
                event_types=[f"seen.{name}"],
                contact_email=f"{name}@acme.test",
            ).id
        )
        for name in names
    }
    for name in names:
        enqueue(f"seen.{name}", MESSAGE, account="acme", subject=name)
    deliver(strict, dns)
    with MailServer() as server:
        send_due(database, mailer_for(settings, server.port))
        mails = {mail.recipients[0].partition("@")[0]: mail for mail in server.messages}
    assert set(mails) == set(names)

    shown = {name: anonymous(seen_with(customer, api, name, webhooks[name]), names) for name in names}
    assert NOT_PUBLIC in shown["missing"]
    for text in shown.values():
        assert text.split(",") == shown["missing"].split(",")
    for form in ("plain", "html"):
        assert len({anonymous(mail.body(form), names) for mail in mails.values()}) == 1, form

    exactly = {name: seen_with(operator, api, name, webhooks[name]) for name in names}
    assert '"kind":"dns","detail":"name not resolved' in exactly["missing"]
    assert '"kind":"address_refused","detail":"a private address"' in exactly["private"]
    assert "a private address" in cli("explain", webhooks["private"]).out
    assert "dns" in cli("explain", webhooks["missing"]).out


def test_of_a_token_servers_name_a_customer_learns_no_more(
    api: Api, make_key: MakeKey, database: Engine, settings: Settings, strict: Settings, dns: DnsServer
) -> None:
    customer, names = make_key("acme", Scope.READ), ("missing", "private", "metadata")
    webhooks = {
        name: str(
            make_webhook(
                database,
                settings,
                url=f"http://{name}.corp.example/hook",
                event_types=[f"seen.{name}"],
                authorization=ClientCredentials(f"http://{name}.corp.example/token", "id", "secret"),
            ).id
        )
        for name in names
    }
    for name in names:
        enqueue(f"seen.{name}", MESSAGE, account="acme", subject=name)
    deliver(strict, dns)
    assert {row.failure_detail for row in attempts(database)} == {
        "no answer from the token server (dns)",
        "no answer from the token server (address_refused)",
    }
    shown = {anonymous(seen_with(customer, api, name, webhooks[name]), names) for name in names}
    text, *others = shown
    for other in others:
        assert other.split(",") == text.split(",")
    assert f"no answer from the token server: it {NOT_PUBLIC}" in text


@pytest.mark.parametrize("transport", ["curl", "requests"])
def test_a_registration_tells_a_customer_no_more_and_an_operator_the_truth(
    api: Api,
    make_key: MakeKey,
    monkeypatch: pytest.MonkeyPatch,
    dns: DnsServer,
    restarted: Any,
    transport: str,
) -> None:
    monkeypatch.setenv("DISPATCHER_TRANSPORT", transport)
    monkeypatch.setenv("DISPATCHER_ALLOWED_NETWORKS", "")
    place = "curl" if transport == "curl" else "threaded"
    monkeypatch.setattr(f"dispatcher.transport.{place}.transport.system_resolver", lambda _: dns.resolve)
    restarted()
    manager, operator = make_key("acme", Scope.MANAGE), make_key(None, Scope.OPERATOR)

    def told(url: str, token: str, **more: Any) -> str:
        body = {"url": url, "event_types": ["*"], "account": "acme", **more}
        answer = api.call("POST", "/v1/webhooks", body, token=token)
        assert answer.status_code == 422
        return errors(answer)["url"]

    of_names = {told(f"http://{name}.corp.example/", manager) for name in PLACES}
    assert of_names == {f"did not pass the URL verification, which requires a 2xx: {NOT_PUBLIC}"}
    assert "name not resolved" in told("http://missing.corp.example/", operator)
    assert told("http://private.corp.example/", operator).endswith(": a private address")
    literal = ("10.1.2.3", "127.0.0.1", "[::1]", "169.254.169.254", "[fd00::17]", "localhost", "intranet", "bücher")
    assert {told(f"http://{host}/", manager) for host in literal} == {NOT_PUBLIC}
    assert told("http://10.1.2.3/", operator) == "may not be called: a private address"
    # What the URL itself says is told exactly: nothing was asked.
    assert told("http://public.example:25/", manager).startswith("may not be called: port 25")


def test_a_name_of_one_label_is_refused_when_it_is_registered_and_each_time_it_is_called(
    database: Engine, settings: Settings, strict: Settings, dns: DnsServer, receiver: Receiver, cli: Cli
) -> None:
    make_account(database)
    for host in ("intranet", "INTRANET", "bücher", "münchen", "xn--bcher-kva", "a_b", "com"):
        ran = cli("webhook", "create", "--account", "acme", "--url", f"http://{host}/", "--type", "*")
        assert ran.status in {1, 2}, ran
        assert "a name without a dot" in ran.err
    dns.script("intranet", ("127.0.0.1",))
    open_then = settings.model_copy(update={"allowed_hosts": "intranet"})
    make_webhook(database, open_then, url=f"http://intranet:{receiver.port}/")
    enqueue(RECEIVED, MESSAGE, account="acme")
    deliver(strict, dns)
    (attempt,) = attempts(database)
    assert (attempt.failure, attempt.failure_detail[:20]) == ("address_refused", "a name without a dot")
    assert dns.lookups("intranet") == 0
    assert receiver.connections == 0


def test_no_answer_of_the_api_names_an_address(api: Api, make_key: MakeKey, database: Engine) -> None:
    """What is refused is not quoted, so that logs of proxies do not fill with it either."""
    manager = make_key("acme", Scope.MANAGE)
    body = {"url": "http://10.99.98.97/s3cret", "event_types": ["*"]}
    answer = api.call("POST", "/v1/webhooks", body, token=manager)
    assert answer.status_code == 422
    assert "10.99" not in json.dumps(answer.json())
