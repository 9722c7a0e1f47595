"""The portal looks like the platform's own; the console does not."""

import re
from pathlib import Path

import pytest
import requests

from dispatcher.console.kinds import Kind
from dispatcher.console.rendering import Rendering
from tests.integration.console.conftest import People

LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><script>alert(1)</script></svg>'


@pytest.fixture
def environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "logo.svg").write_text(LOGO)
    named = {"NAME": "Acme <Messaging>", "LOGO": str(tmp_path / "logo.svg"), "ACCENT": "#7A0019"}
    added = {f"DISPATCHER_PORTAL_{name}": value for name, value in named.items()}
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    # The server of all tests has read another one with its first page.
    monkeypatch.setattr(Rendering, "brand", property(lambda rendering: rendering._read_brand()))
    return environment | added


def test_customers_see_the_platforms_name_logo_and_colour(people: People) -> None:
    customer, operator = people.customer("acme"), people.operator()
    page = customer.get("/overview").text
    assert "Acme &lt;Messaging&gt;</title>" in page.replace("· ", "")
    served = [
        requests.get(f"{people.origin}{path}", timeout=30)
        for path in re.findall(r'"(/portal/static/brand\.[^"]+)"', page)
    ]

    style, logo = sorted(served, key=lambda one: one.headers["Content-Type"], reverse=True)
    assert (logo.text, logo.headers["Content-Type"]) == (LOGO, "image/svg+xml")
    assert "script-src 'self'" in logo.headers["Content-Security-Policy"]
    assert style.text.startswith(":root { --accent: #7a0019;")
    assert "brand." not in operator.get("/overview").text
    assert "Acme" not in operator.get("/overview").text
    assert requests.get(logo.url.replace("/portal/", "/console/"), timeout=30).status_code == 404


def test_who_has_no_session_is_told_how_to_come_back(people: People) -> None:
    visitor = people.stranger(Kind.PORTAL)
    assert visitor.get("/overview").headers["Location"] == "/portal/login?next=%2Foverview"
    ended = visitor.get("/login")
    assert (ended.status_code, "follow a new link" in ended.text) == (401, True)


@pytest.mark.parametrize(("cookie", "theme"), [({}, "dark"), ({"look": "light.local"}, "light")])
def test_pages_look_as_the_link_says_until_somebody_chooses(people: People, cookie: dict[str, str], theme: str) -> None:
    link = people.link(Kind.PORTAL, "acme", theme="dark")
    visitor = people.stranger(Kind.PORTAL)
    visitor.post("/enter", {"link": f"{link.id}.{link.secret}"})
    visitor.cookies |= cookie
    assert f'data-theme="{theme}"' in visitor.get("/overview").text
