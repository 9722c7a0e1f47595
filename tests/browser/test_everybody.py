"""For those who have no script, no mouse, or another time than the server."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.settings import Settings
from tests.acceptance.test_one_command import Together
from tests.acceptance.test_workers import eventually, states
from tests.browser.conftest import Visit
from tests.factories import MESSAGE, RECEIVED, make_webhook, rows
from tests.integration.api.conftest import MakeKey
from tests.integration.console.conftest import People
from tests.receiver import Receiver

pytestmark = pytest.mark.engine


def test_without_script_a_message_is_found_and_sent_again(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver, engine: Together
) -> None:
    make_webhook(database, settings, name="orders", url=receiver.url("/status/404"))
    enqueue(RECEIVED, MESSAGE, account="acme", subject="order-4711")
    eventually(lambda: states(database) == ["discarded"], engine)
    visitor = visit(people.customer(), scripted=False)
    page = visitor.page
    visitor.go("/events")
    page.get_by_label("Subject", exact=True).fill("order-4711")
    visitor.button("Filter").click()
    page.get_by_role("link", name=RECEIVED).click()
    expect(page.get_by_role("note")).to_contain_text("404")
    visitor.button("Send again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Send it again?")
    visitor.button("Send again").click()
    expect(page.get_by_text("It is sent again.")).to_be_visible()
    receiver.wait_for(2, timeout=30)


def test_without_script_an_operator_signs_in_disables_a_webhook_and_signs_out(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver, make_key: MakeKey
) -> None:
    webhook = make_webhook(database, settings, name="orders", url=receiver.url("/hook"))
    visitor = visit(people.stranger(), scripted=False)
    page = visitor.page
    visitor.go(f"/webhooks/{webhook.id}")
    page.get_by_label("API key").fill(make_key(None, Scope.OPERATOR))
    visitor.button("Sign in").click()
    page.get_by_text("More", exact=True).click()
    visitor.button("Disable").click()
    visitor.button("Disable").click()
    expect(page.get_by_role("status")).to_have_text("Disabled.")
    page.get_by_label("Theme").select_option("dark")
    visitor.button("Apply").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    visitor.button("Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, name: str) -> None:
    """Moves the focus on to what has this name. What has it can be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if focused.count() and name in (focused.inner_text().strip(), focused.get_attribute("aria-label")):
            assert focused.evaluate("e => getComputedStyle(e).outlineStyle") != "none", f"no ring at {name}"
            return
    raise AssertionError(f"the focus does not come to {name}")


def test_by_keyboard_alone_a_message_is_found_and_sent_again(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver, engine: Together
) -> None:
    make_webhook(database, settings, name="orders", url=receiver.url("/status/404"))
    enqueue(RECEIVED, MESSAGE, account="acme", subject="order-4711")
    eventually(lambda: states(database) == ["discarded"], engine)
    visitor = visit(people.customer())
    page = visitor.page
    visitor.go("/webhooks")
    page.keyboard.press("/")
    page.keyboard.type("order-4711")
    page.keyboard.press("Enter")
    page.wait_for_url(visitor.at("/events/[^/]+"))
    tab_to(page, "Skip to content")
    press(page, "Enter")
    tab_to(page, "Send again")
    press(page, "Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    tab_to(page, "Send again")
    press(page, "Enter")
    expect(page.get_by_text("It is sent again.")).to_be_visible()
    receiver.wait_for(2, timeout=30)


def test_by_keyboard_alone_a_question_is_left_and_a_webhook_disabled(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, name="orders", url=receiver.url("/hook"))
    visitor = visit(people.customer())
    page = visitor.page
    visitor.go(f"/webhooks/{webhook.id}")
    tab_to(page, "More")
    press(page, "Enter")
    tab_to(page, "Disable")
    press(page, "Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("link", name="Disable")).to_be_focused()
    press(page, "Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    tab_to(page, "Disable")
    press(page, "Enter")
    expect(page.get_by_role("status")).to_have_text("Disabled.")
    (row,) = rows(database, "SELECT enabled FROM dispatcher.webhooks")
    assert not row.enabled


def test_times_are_in_the_zone_of_whoever_reads(
    people: People, visit: Visit, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    webhook = make_webhook(database, settings, name="orders", url=receiver.url("/hook"))
    made = webhook.created_at.astimezone(UTC)
    for zone in ("Asia/Kathmandu", "America/St_Johns"):
        visitor = visit(people.customer(), zone=zone)
        visitor.go("/webhooks")  # tells the zone
        visitor.go(f"/webhooks/{webhook.id}")
        shown = visitor.page.locator("dt:text-is('Made') + dd time")
        expect(shown).to_contain_text(f"{made.astimezone(ZoneInfo(zone)):%H:%M}")
        assert datetime.fromisoformat(shown.get_attribute("datetime") or "") == made
        visitor.page.get_by_label("Time zone").select_option("UTC")
        expect(visitor.page.get_by_text("Times in UTC")).to_be_visible()
        expect(shown).to_contain_text(f"{made:%H:%M}")
