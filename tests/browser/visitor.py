"""Somebody with a browser, and what it noticed meanwhile that no page may cause."""

import re
from collections.abc import Set
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser as Chromium
from playwright.sync_api import ConsoleMessage, Dialog, Locator, Page, Request, Response, WebError

from tests.integration.console.conftest import Browser

TAGS = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]


class Look(NamedTuple):
    """How wide a window is, and the theme of the system."""

    width: int
    theme: str


WIDE, SMALL = Look(1280, "light"), Look(390, "dark")
LOOKS = [Look(width, theme) for width in (1280, 390) for theme in ("light", "dark")]
NARROWEST = Look(320, "dark")

# Chromium tells of most of what a policy forbids in its console, but not of all.
_TELL = "addEventListener('securitypolicyviolation', e => console.error('policy', e.violatedDirective, e.blockedURI))"
_SIDEWAYS = (
    "[document.documentElement, ...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)"
)
_REFUSED = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")


class Visitor:
    """`scripted`: whether the browser runs scripts. `also`: an origin besides that of the pages that it may ask."""

    def __init__(
        self,
        chromium: Chromium,
        browser: Browser,
        *,
        look: Look = WIDE,
        scripted: bool = True,
        zone: str = "Europe/London",
        also: str = "",
    ) -> None:
        self._base = f"{browser.origin}/{browser.kind}"
        self._known = tuple(filter(None, (f"{browser.origin}/", also)))
        self.faults: list[str] = []
        self._expected: Set[int] = frozenset()
        self.context = chromium.new_context(
            viewport={"width": look.width, "height": 900},
            color_scheme=look.theme,  # type: ignore[arg-type]
            locale="en-GB",
            timezone_id=zone,
            reduced_motion="reduce",
            java_script_enabled=scripted,
        )
        self.context.set_default_timeout(20_000)
        kept: Any = {"url": browser.origin, "httpOnly": True, "sameSite": "Strict"}
        self.context.add_cookies([{"name": name, "value": value, **kept} for name, value in browser.cookies.items()])
        self.context.on("request", self._ask)
        self.context.on("console", self._hear)
        self.context.on("weberror", self._fail)
        self.context.on("dialog", self._dismiss)
        self.context.add_init_script(_TELL)
        self.page: Page = self.context.new_page()

    def go(self, path: str) -> Response:
        """To a page of the face."""
        answer = self.page.goto(self._base + path)
        assert answer is not None
        return answer

    def at(self, path: str) -> re.Pattern[str]:
        """Matches the address of a page, whatever its query."""
        return re.compile(rf"{re.escape(self._base)}{path}(\?.*)?")

    def expects(self, statuses: Set[int]) -> None:
        """From now on answers with these are no faults: browsers tell of them in the console."""
        self._expected = statuses

    def button(self, name: str) -> Locator:
        """What is pressed: a button, or a link."""
        return self.page.get_by_role("button", name=name, exact=True).or_(
            self.page.get_by_role("link", name=name, exact=True)
        )

    def ask(self, name: str) -> Locator:
        """Presses what asks before a change, and returns the question."""
        self.button(name).first.click()
        question = self.page.get_by_role("dialog")
        question.wait_for()
        return question

    def looks(self, look: Look) -> None:
        """From now on at the page in this way."""
        self.page.set_viewport_size({"width": look.width, "height": 900})
        self.page.emulate_media(color_scheme=look.theme)  # type: ignore[arg-type]

    def violations(self, *, of_colours: bool = False) -> list[str]:
        """What axe finds in the page: rules and elements. `of_colours`: by the rules alone that a theme can break."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_axe())
        rules = {"type": "rule", "values": COLOURS} if of_colours else {"type": "tag", "values": TAGS}
        given = {"runOnly": rules, "resultTypes": ["violations"]}
        found = self.page.evaluate("given => axe.run(document, given)", given)["violations"]
        return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]

    def is_sideways(self) -> bool:
        """Whether one has to scroll sideways to see all of the page, or of a table in it."""
        return bool(self.page.evaluate(_SIDEWAYS))

    def leave(self) -> None:
        self.context.close()

    def _ask(self, request: Request) -> None:
        if not request.url.startswith(self._known):
            self.faults.append(f"asked for {request.url}")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"debug", "verbose"}:  # what Chromium advises
            return
        refused = _REFUSED.match(message.text)
        if refused is None or int(refused[1]) not in self._expected:
            self.faults.append(f"said at {self.page.url}: {message.text}")

    def _fail(self, error: WebError) -> None:
        self.faults.append(f"failed at {self.page.url}: {error.error}")

    def _dismiss(self, dialog: Dialog) -> None:
        self.faults.append(f"opened a dialog at {self.page.url}: {dialog.message}")
        dialog.dismiss()


@cache
def _axe() -> str:
    return Path(__file__).with_name("axe-4.14.1.min.js").read_text()
