"""What operators and customers come for, from the first click to what the receiver got."""

import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.console.kinds import Kind
from dispatcher.settings import Settings
from tests.acceptance.test_one_command import Together
from tests.acceptance.test_workers import eventually, states
from tests.behaviours import Answer
from tests.browser.conftest import Visit
from tests.browser.visitor import SMALL
from tests.factories import MESSAGE, RECEIVED, change, deliveries, make_webhook, rows
from tests.integration.api.conftest import MakeKey, running_app
from tests.integration.console.conftest import People
from tests.integration.console.test_all_routes import signed_in
from tests.integration.docs.blocks import example
from tests.receiver import Receiver

pytestmark = pytest.mark.engine

EMBEDDING = "docs/embedding.md"
BROKEN = Answer(503, (("Content-Type", "text/plain"),), b"the database is away")


@pytest.mark.parametrize("kind", list(Kind))
def test_somebody_finds_a_message_and_sees_why_it_failed(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver, engine: Together, kind: Kind
) -> None:
    receiver.script("/hook", BROKEN)
    make_webhook(database, settings, name="orders", url=receiver.url("/hook"))
    enqueue(RECEIVED, MESSAGE, account="acme", subject="order-4711")
    eventually(lambda: states(database) == ["waiting"], engine)
    visitor = visit(signed_in(people, kind))
    visitor.go("/overview")
    visitor.page.keyboard.press("/")
    visitor.page.keyboard.type("order-4711")
    visitor.page.keyboard.press("Enter")
    page = visitor.page
    expect(page.get_by_role("heading", level=1)).to_have_text(RECEIVED)
    expect(page.get_by_role("note")).to_contain_text("503")
    expect(page.get_by_text("the database is away")).to_be_visible()
    expect(page.get_by_role("link", name="Try now")).to_be_visible()


def test_a_customer_mends_the_url_and_has_the_message_sent_again(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver, engine: Together
) -> None:
    make_webhook(database, settings, name="orders", url=receiver.url("/status/404"))
    enqueue(RECEIVED, MESSAGE, account="acme")
    eventually(lambda: states(database) == ["discarded"], engine)
    (delivery,) = deliveries(database)
    visitor = visit(people.customer())
    visitor.go(f"/events/{delivery.event_id}")
    visitor.page.get_by_role("heading", level=2).get_by_role("link", name="orders").click()
    visitor.button("Edit").click()
    visitor.page.get_by_label("URL", exact=True).fill(receiver.url("/mended"))
    visitor.button("Save").click()
    expect(visitor.page.get_by_role("status")).to_have_text("Saved.")
    visitor.page.get_by_role("link", name=RECEIVED).click()
    question = visitor.ask("Send again")
    expect(question).to_contain_text("Attempt 2 is made within seconds.")
    question.get_by_role("button", name="Send again").click()
    expect(visitor.page.get_by_text("It is sent again.")).to_be_visible()
    (*_, request) = receiver.wait_for(2, timeout=30, path="/mended")  # the first one tested the URL
    assert request.json() == [MESSAGE]
    expect(visitor.page.get_by_text("1 of 1")).to_be_visible()  # by itself


def test_an_operator_rotates_a_secret_and_both_sign_for_the_overlap(
    people: People,
    visit: Visit,
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    make_key: MakeKey,
) -> None:
    webhook = make_webhook(database, settings, name="orders", url=receiver.url("/hook"))
    visitor = visit(people.stranger())
    page = visitor.page
    key = make_key(None, Scope.OPERATOR)
    visitor.go(f"/webhooks/{webhook.id}")
    page.get_by_label("API key").fill(key)
    visitor.button("Sign in").click()
    page.get_by_text("More", exact=True).click()
    visitor.expects({401})  # a question that needs the key leads to where it is asked for
    visitor.button("Rotate the key").click()
    expect(page.get_by_role("heading", name="Show your key again")).to_be_visible()
    page.get_by_label("API key").fill(key)
    visitor.button("Go on").click()
    page.get_by_label("Old keys sign beside it for").select_option("1 hour")
    visitor.button("Rotate the key").click()
    expect(page.get_by_text("The new key signs from now on.")).to_be_visible()
    page.clock.install()
    visitor.button("Show them").click()
    expect(page.get_by_text("Old key, signs until")).to_be_visible()
    shown = page.locator("code[id^=key-]").all_inner_texts()
    assert len(set(shown)) == 2
    assert all(secret.startswith("whsec_") for secret in shown)
    page.clock.fast_forward(60_000)
    expect(page.locator("code[id^=key-]")).to_have_count(0)  # nobody reads them later from a page that was left open
    enqueue(RECEIVED, MESSAGE, account="acme")
    (request,) = receiver.wait_for(1, timeout=30)
    assert len((request.header("webhook-signature") or "").split()) == 2


def test_what_comes_while_a_webhook_is_disabled_is_sent_when_it_is_enabled(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, name="orders", url=receiver.url("/hook"))
    visitor = visit(people.customer())
    visitor.go(f"/webhooks/{webhook.id}")
    visitor.page.get_by_text("More", exact=True).click()
    question = visitor.ask("Disable")
    question.get_by_label("Why").fill("maintenance until nine")
    question.get_by_role("button", name="Disable").click()
    expect(visitor.page.get_by_role("note")).to_contain_text("maintenance until nine")
    enqueue(RECEIVED, MESSAGE, account="acme")
    question = visitor.ask("Enable")
    expect(question).to_contain_text("One delivery waits. It is sent at once.")
    assert receiver.received == []
    question.get_by_role("button", name="Enable").click()
    expect(visitor.page.get_by_role("status")).to_have_text("Enabled.")
    tested, request = receiver.wait_for(2, timeout=30)
    assert (tested.json(), request.json()) == ([], [MESSAGE])


def test_after_an_outage_all_that_was_discarded_is_counted_and_then_sent_again(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver, engine: Together
) -> None:
    receiver.script("/hook", Answer(404))
    make_webhook(database, settings, name="orders", url=receiver.url("/hook"))
    for number in range(12):
        enqueue(RECEIVED, {"number": number}, account="acme")
    eventually(lambda: states(database) == ["discarded"] * 12, engine)
    receiver.script("/hook", Answer(200))
    before = len(receiver.received)
    visitor = visit(people.customer())
    visitor.go("/redeliveries")
    visitor.button("New redelivery").click()
    visitor.page.get_by_label("Webhook", exact=True).fill("orders")
    visitor.button("Count them").click()
    expect(visitor.page.get_by_text("12 deliveries would be sent again")).to_be_visible()
    assert (len(receiver.received), states(database)) == (before, ["discarded"] * 12)
    visitor.button("Send 12").click()
    expect(visitor.page.get_by_text("Finished", exact=True)).to_be_visible()  # by itself
    eventually(lambda: states(database) == ["delivered"] * 12, engine)


def test_a_new_webhook_whose_url_fails_its_test_says_what_came_back(
    people: People, visit: Visit, database: Engine, receiver: Receiver
) -> None:
    visitor = visit(people.customer(), look=SMALL)
    visitor.expects({422})
    page = visitor.page
    visitor.go("/webhooks")
    visitor.button("New webhook").click()
    page.get_by_label("URL", exact=True).fill(receiver.url("/status/503"))
    page.get_by_label("Event types").fill("message")
    page.get_by_label("Name", exact=True).fill("orders")
    visitor.button("Make the webhook").click()
    verdict = page.get_by_role("alert")
    expect(verdict).to_contain_text("The URL did not pass the test.")
    expect(verdict).to_contain_text("503")
    assert rows(database, "SELECT 1 FROM dispatcher.webhooks") == []
    assert page.get_by_label("Name", exact=True).input_value() == "orders"
    page.get_by_label("URL", exact=True).fill(receiver.url("/hook"))
    visitor.button("Make the webhook").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("orders")
    expect(page.get_by_role("status")).to_contain_text("Made.")


def test_a_link_to_the_portal_signs_in_once_and_not_when_it_is_too_old(
    people: People, visit: Visit, database: Engine
) -> None:
    def follow(link: str) -> None:
        visitor = visit(people.stranger(Kind.PORTAL))
        visitor.expects({410})
        visitor.page.goto(link)
        arrived.append(visitor)

    arrived: list = []
    link = people.link(Kind.PORTAL, "acme")
    url = link.url(people.origin)
    follow(url)
    (first,) = arrived
    first.page.wait_for_url(first.at("/webhooks"))
    assert link.secret not in first.page.evaluate("JSON.stringify(history.state) + location")
    first.page.go_back()
    assert link.secret not in first.page.url
    follow(url)
    expect(arrived[-1].page.get_by_text("This link does not work any more")).to_be_visible()
    late = people.link(Kind.PORTAL, "acme", expires_in=timedelta(seconds=-1))
    follow(late.url(people.origin))
    expect(arrived[-1].page.get_by_text("This link does not work any more")).to_be_visible()


def test_the_page_of_the_docs_shows_the_portal_in_a_frame_where_all_of_it_works(
    people: People,
    visit: Visit,
    database: Engine,
    settings: Settings,
    receiver: Receiver,
    make_key: MakeKey,
    shop: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_webhook(database, settings, name="orders", url=receiver.url("/hook"))
    given = {"API": people.origin, "PORTAL": people.origin, "TOKEN": make_key(None, Scope.OPERATOR)}
    for name, value in {**given, "SHOP_ORIGIN": shop, "SHOP_SECRET": "the platform's own"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for file, name in (("webhooks.html", "page"), ("portal.js", "script")):
        Path(file).write_text(example(EMBEDDING, name))
    program: dict[str, Any] = {}
    for name in ("table", "fastapi", "trial"):
        monkeypatch.setitem(sys.modules, "shop", SimpleNamespace(**program))
        exec(example(EMBEDDING, name), program)

    visitor = visit(people.stranger(Kind.PORTAL), also=f"{shop}/", zone="Asia/Tokyo")
    page = visitor.page
    with closing(program["engine"]), running_app(program["app"], port=int(shop.rpartition(":")[2])):
        page.clock.install()
        page.goto(f"{shop}/sign-in")
        frame = page.frame_locator("iframe")
        frame.get_by_role("link", name="orders").click()
        frame.get_by_text("More", exact=True).click()
        frame.get_by_role("link", name="Disable").click()
        frame.get_by_role("dialog").get_by_role("button", name="Disable").click()
        expect(frame.get_by_role("status")).to_have_text("Disabled.")
        (cookie,) = [one for one in visitor.context.cookies() if one["name"] == "portal"]
        assert (cookie["sameSite"], cookie["httpOnly"], cookie["secure"]) == ("None", True, True)
        assert "localhost" in cookie["partitionKey"]

        expect(frame.locator("html")).to_have_attribute("data-theme", "light")
        frame.get_by_label("Theme").select_option("dark")
        expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
        expect(frame.get_by_text("Times in Asia/Tokyo")).to_be_visible()
        frame.get_by_role("link", name="Help").click()
        frame.locator("summary").first.click()
        frame.get_by_role("button", name="Copy").first.click()
        expect(frame.locator("[data-copied]")).to_have_count(1)

        frame.get_by_role("link", name="Back").click()
        page.wait_for_url(f"{shop}/webhooks")
        assert len(page.frames) == 2
        visitor.expects({401})
        for again in (page.get_by_role("button").click, lambda: page.clock.fast_forward(3_600_000)):
            expect(frame.get_by_role("link", name="orders")).to_be_visible()
            change(database, "UPDATE dispatcher.sessions SET expires_at = now()")
            frame.get_by_role("link", name="Events").click()
            expect(frame.get_by_role("heading", name="You are not signed in")).to_be_visible()
            again()
        expect(frame.get_by_role("link", name="orders")).to_be_visible()


def test_a_page_that_may_not_shows_nothing_of_the_portal(
    people: People, visit: Visit, settings: Settings, platform: Receiver
) -> None:
    link = people.link(Kind.PORTAL, "acme", embed_origin=f"http://localhost:{platform.port}").url(people.origin)
    html = f'<!doctype html><title>Evil</title><link rel=icon href="data:,"><iframe src="{link}">'
    platform.script("/evil", Answer(200, (("Content-Type", "text/html"),), html.encode()))
    visitor = visit(people.stranger(Kind.PORTAL), also=platform.origin)
    visitor.page.goto(platform.url("/evil"))  # not the listed origin: another name of the same host
    frame = visitor.page.frames[1]
    frame.wait_for_load_state()
    assert "Sign in" not in frame.content()
    assert any("frame-ancestors" in fault for fault in visitor.faults)
    visitor.faults.clear()


def test_an_operator_signs_in_with_a_key_and_is_out_when_it_is_revoked(
    people: People, visit: Visit, database: Engine, make_key: MakeKey
) -> None:
    visitor = visit(people.stranger())
    visitor.expects({401})
    page = visitor.page
    visitor.go("/webhooks")
    page.get_by_label("API key").fill(f"{make_key('acme', Scope.READ)}")
    visitor.button("Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This key does not open the console.")
    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_label("API key").fill(make_key(None, Scope.OPERATOR))
    visitor.button("Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Webhooks")
    change(database, "UPDATE dispatcher.api_keys SET revoked_at = now() WHERE account_id IS NULL")
    visitor.button("Events").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert "next=%2Fevents" in page.url


def test_the_live_page_shows_a_request_without_being_loaded_again(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    make_webhook(database, settings, name="orders", url=receiver.url("/hook"))
    make_webhook(database, settings, name="broken", url=receiver.url("/status/503"))
    visitor = visit(people.operator())
    visitor.go("/live")
    visitor.page.evaluate("window.same = true")
    expect(visitor.page.get_by_text("No request was made in the last minute.")).to_be_visible()
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE dispatcher.sessions SET seen_at = now() - interval '30 minutes'")
    enqueue(RECEIVED, MESSAGE, account="acme")
    expect(visitor.page.locator("#list tbody tr")).to_have_count(2)
    idle = "SELECT seen_at < now() - interval '29 minutes' AS idle FROM dispatcher.sessions"
    assert rows(database, idle) == [(True,)]  # what the page asks for by itself is no use
    visitor.page.get_by_label("Failures only").check()
    expect(visitor.page.locator("#list tbody tr")).to_have_count(1)
    expect(visitor.page.locator("#list tbody tr")).to_contain_text("broken")
    assert visitor.page.evaluate("window.same")
    assert rows(database, idle) == [(False,)]


def test_an_operator_finds_who_disabled_a_webhook_and_why(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, name="orders", url=receiver.url("/hook"))
    people.customer().post(f"/webhooks/{webhook.id}/disable", {"reason": "moved away"})
    visitor = visit(people.operator())
    page = visitor.page
    visitor.go("/audit")
    page.get_by_label("Target's id").fill(str(webhook.id))
    page.get_by_label("Action").select_option("webhook.disabled")
    entry = page.locator("#list tbody tr")
    expect(entry).to_have_count(1)
    expect(entry).to_contain_text("user-7")
    entry.get_by_text("Details").click()
    expect(entry).to_contain_text("moved away")
