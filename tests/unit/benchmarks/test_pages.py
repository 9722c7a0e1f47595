"""Which pages the benchmark asks for."""

import re

from benchmarks.pages import Page, pages
from dispatcher.console.app import routers_of
from dispatcher.console.kinds import Kind

THINGS = {"account", "account_id", "delivery_id", "event_id", "key_id", "redelivery_id", "session_id", "subject"} | {
    "webhook_id"
}


def test_every_page_that_there_is_is_asked_for_and_the_benchmark_has_the_things_that_it_is_about() -> None:
    asked = list(pages())
    there_are = {
        (kind, getattr(route, "path", ""))
        for kind in Kind
        for router in routers_of(kind)
        for route in router.routes
        if "GET" in (getattr(route, "methods", None) or ())
    }
    assert {(page.kind, page.path) for page in asked if not page.query} == there_are
    assert len(set(asked)) == len(asked) > len(there_are)
    assert {name for page in asked for name in re.findall(r"\{(\w+)\}", f"{page.path}?{page.query}")} == THINGS


def test_the_names_of_things_are_quoted_in_the_address_of_a_page() -> None:
    page = Page(Kind.CONSOLE, "/webhooks/{webhook_id}", "account={account}")
    assert page.url({"webhook_id": "7", "account": "a b&c"}) == "/console/webhooks/7?account=a%20b%26c"
    assert Page(Kind.PORTAL, "/overview").url({}) == "/portal/overview"
