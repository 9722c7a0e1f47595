"""What holds for every page of console and portal, read from their own route tables: a new page is included by itself.
What it needs for that: things for the parameters of its path, in `things_of`."""

from urllib.parse import quote

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.accounts import is_name
from dispatcher.console.kinds import Kind
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.browser.conftest import Visit
from tests.browser.visitor import LOOKS, NARROWEST, Look, Visitor
from tests.factories import make_quarantined_notice
from tests.hostile_values import NO_UTF8, TEXTS
from tests.integration.console.conftest import People, Things, things_of
from tests.integration.console.test_all_routes import ALL, signed_in
from tests.receiver import Receiver

pytestmark = pytest.mark.engine

LONG = "o-" + "W" * 240  # a name without a place to break it
# Those that are no pages but files, and what leads elsewhere.
_NO_PAGES = ("/audit.ndjson", "/")
# What pages look like when something is amiss, empty, or asked before a change of many; with how they answer.
_MORE = {
    "/nowhere": 404,
    "/webhooks?app=none&done=saved": 200,
    "/deliveries?webhook=unknown": 422,
    "/deliveries?state=discarded&reason=rejected": 200,
    "/redeliveries/new?kind=replay": 200,
    "/redeliveries/new?count=true&discarded=true&account=acme": 200,
    "/search?q=nothing": 200,
}


def addresses(kind: Kind, things: Things) -> dict[str, int]:
    """Those of all pages, with how they answer."""
    pages = [place for place in ALL if (place.kind, place.method) == (kind, "GET") and place.path not in _NO_PAGES]
    return {place.at(things): 200 for place in pages} | _MORE | ({"/login": 401} if kind is Kind.PORTAL else {})


def look_at(visitor: Visitor, path: str, status: int) -> None:
    visitor.expects({status} - {200})
    assert visitor.go(path).status == status, path
    assert visitor.page.title().endswith("dispatcher"), path


def faults_of(visitor: Visitor, path: str) -> list[tuple[str, Look, str]]:
    """What is wrong with the page that the visitor is at."""
    found: list[tuple[str, Look, str]] = []
    said = len(visitor.faults)
    for look in (*LOOKS, NARROWEST):
        visitor.looks(look)
        found += [(path, look, "scrolls sideways")] if visitor.is_sideways() else []
        if look is not NARROWEST:
            found += [(path, look, each) for each in visitor.violations(of_colours=look.theme == "dark")]
    del visitor.faults[said:]  # axe asks for style sheets itself, which the policy forbids
    return found


@pytest.mark.parametrize("kind", list(Kind))
def test_every_page_can_be_used_by_everybody(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver, kind: Kind
) -> None:
    things, _ = things_of(database, settings, receiver, LONG, "globex")
    make_quarantined_notice(database)
    visitor = visit(people.operator(proved=True) if kind is Kind.CONSOLE else people.customer(LONG))
    found = []
    for path, status in addresses(kind, things).items():
        look_at(visitor, path.replace("=acme", f"={LONG}"), status)
        found += faults_of(visitor, path)
    assert found == []


def hostile_names(most: int) -> list[str]:
    """All hostile values that a name can have, in few names."""
    names: list[str] = []
    for text in filter(is_name, TEXTS.values()):
        if names and len(names[-1]) + len(text) <= most:
            names[-1] += text
        else:
            names.append(text)
    return names


# What a receiver writes so that htmx, or a browser, would do something.
_EVIL = (
    '<div hx-get="http://evil.test/a" hx-trigger="load"></div><form action="http://evil.test/b"><base href="http://evil.test">'
    '<meta http-equiv="refresh" content="0; url=http://evil.test/c"><link rel="stylesheet" href="http://evil.test/d">'
    '</pre></details><style>@import "http://evil.test/e"</style><iframe srcdoc="<script>alert(2)</script>"></iframe>'
)


def test_nothing_that_others_wrote_does_anything_in_any_page(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    names = hostile_names(245)  # the others have a word before it
    everything = "".join([_EVIL, *TEXTS.values()])
    body = everything.encode(errors="replace") + b"".join(NO_UTF8.values())
    headers = (
        ("Content-Type", "text/html"),
        ("X-Evil", _EVIL),
        ("Link", "<//evil.test/f>; rel=preload; as=script"),
    )
    receiver.script("/status/401", Answer(401, headers, body))
    all_things = things_of(database, settings, receiver, *names)
    for account in names:
        enqueue("message.sent", {text: text for text in TEXTS.values()} | {_EVIL: _EVIL}, account=account, app=account)
    for things in all_things:
        operator, customer = people.operator(proved=True), people.customer(things.account)
        customer.post(f"/webhooks/{things.ids['webhook_id']}/disable", {"reason": things.account})
        for browser in (operator, customer):
            visitor = visit(browser)
            for path, status in addresses(browser.kind, things).items():
                look_at(visitor, path.replace("=acme", f"={quote(things.account)}"), status)


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_in_an_address_does_anything(people: People, visit: Visit, database: Engine, kind: Kind) -> None:
    visitor = visit(signed_in(people, kind))
    visitor.expects({401, 404, 410, 422})
    evil = quote(f"javascript:alert(1)//{TEXTS['html']}{_EVIL}"[:250])
    names = ("q", "next", "account", "webhook", "subject", "type", "app", "done", "name", "target", "key")
    query = "&".join(f"{name}={evil}" for name in names)
    for place in ALL:
        if (place.kind, place.method) == (kind, "GET") and not place.is_about_one and place.path not in _NO_PAGES:
            visitor.go(f"{place.path}?{query}#{evil}")
            assert visitor.page.title().endswith("dispatcher"), place
