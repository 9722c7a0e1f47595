"""What pages are made with, tried with a page of the tests' own: a list with parts, a
form, a question, and what needs a proof."""

from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.responses import Response

from dispatcher.accounts.api_keys import Scope
from dispatcher.console.frame import Cursor, Given, Managing, Pages, Problems, Reading, read_cursor
from dispatcher.console.kinds import Kind
from dispatcher.console.mount import Face
from dispatcher.errors import InvalidInput
from tests.factories import change, rows
from tests.integration.api.conftest import Running
from tests.integration.console.conftest import Browser, People, faces_with

pages = Pages()
IDS = [UUID(int=number) for number in range(9, 0, -1)]

TEMPLATES = {
    "things.html": """{% extends "layout.html" %}
{% from "parts.html" import pager, live with context %}
{% block title %}Things{% endblock %}
{% block main %}{% block now %}<p {{ live("now") }}>now</p>{% endblock %}
{% block list %}<div id="list">{% for id in ids %}<b>{{ id.int }}</b>{% endfor %}{{ pager(next, cursor) }}</div>
{% endblock %}{% endblock %}""",
    "rename.html": """{% extends "layout.html" %}
{% from "forms.html" import refused_above, text with context %}
{% block title %}Rename{% endblock %}
{% block main %}<form method="post">{% call refused_above(problems) %}
{{ text("name", "Name", form["name"] if form else "", problems, hint="of the thing") }}
{% endcall %}</form>{% endblock %}""",
    "delete.html": """{% extends "confirm.html" %}
{% block question %}Delete it?{% endblock %}
{% block says %}<p>3,518 deliveries are discarded.</p>{% endblock %}
{% block button %}Delete{% endblock %}""",
}


@pages.get("/things")
def get_things(view: Reading, cursor: Cursor = None) -> Response:
    before = read_cursor(cursor)
    left = [each for each in IDS if before is None or each < before]
    return view.page("things.html", ids=left[:4], before=left[3] if len(left) > 4 else None, cursor=cursor)


@pages.get("/things/rename")
def get_rename(view: Managing) -> Response:
    return view.page("rename.html", form=None, problems=None)


@pages.post("/things/rename")
def post_rename(view: Managing, form: Given) -> Response:
    if form["name"] in {"", "<taken>"}:
        return view.refused("rename.html", form, Problems.of(InvalidInput("name", f"is taken: {form['name']}")))
    return view.goto("/things", done="saved")


@pages.get("/things/delete")
def get_delete(view: Managing) -> Response:
    view.prove()
    return view.page("delete.html", back="/things", danger=True, typed="orders-eu")


@pages.post("/things/delete")
def post_delete(view: Managing, form: Given) -> Response:
    view.prove()
    if not view.is_console:
        try:
            form.must_repeat("orders-eu")
        except InvalidInput as error:
            of_page = {"back": "/things", "danger": True, "typed": "orders-eu"}
            return view.refused("delete.html", form, Problems.of(error), **of_page)
    return view.goto("/things", done="deleted")


@pytest.fixture(scope="module")
def apps(running: Running) -> dict[Kind, FastAPI]:
    return faces_with(running, pages, TEMPLATES)


@pytest.fixture
def people(people: People, apps: dict[Kind, FastAPI], monkeypatch: pytest.MonkeyPatch) -> People:
    monkeypatch.setattr(Face, "app", property(lambda self: apps[self._kind]))
    return people


def test_a_list_is_paged_by_its_links(people: People) -> None:
    browser = people.customer()
    first = browser.get("/things").text
    assert ("<b>9</b>" in first, "<b>5</b>" in first, "Newest" in first) == (True, False, False)
    older = first.partition('rel="next" href="')[2].partition('"')[0].removeprefix("/portal")
    second = browser.get(older).text
    assert ("<b>5</b>" in second, "<b>9</b>" in second, "Newest" in second) == (True, False, True)


def test_htmx_gets_the_part_that_it_wants_and_nothing_else(people: People) -> None:
    browser = people.operator()
    part = browser.get("/things", HX_Request="true", HX_Target="div#list").text.strip()
    assert part.startswith('<div id="list"><b>9</b>')
    assert part.endswith("</div>")
    assert "<html" not in part
    assert browser.get("/things", HX_Request="true", HX_Target="p#now").text.strip().startswith('<p id="now" hx-get=')
    for target in ("div#nothing", "body", ""):
        assert "<html" in browser.get("/things", HX_Request="true", HX_Target=target).text


def test_what_a_page_asks_for_by_itself_is_no_use_of_the_session(people: People, database: Engine) -> None:
    browser = people.operator()
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE dispatcher.sessions SET seen_at = now() - interval '30 minutes'")
    idle = "SELECT seen_at < now() - interval '29 minutes' AS idle FROM dispatcher.sessions"
    for source, target, is_idle in (("p#now", "p#now", True), ("a", "div#list", False)):
        asked = browser.get("/things", HX_Request="true", HX_Source=source, HX_Target=target)
        assert (asked.status_code, rows(database, idle)) == (200, [(is_idle,)])


def test_an_error_leaves_the_page_as_it_is(people: People) -> None:
    answer = people.operator().get("/things?cursor=x", HX_Request="true", HX_Target="div#list")
    assert (answer.status_code, answer.content, answer.headers["HX-Reswap"]) == (422, b"", "none")


def test_a_refused_form_comes_back_with_what_was_typed_and_why(people: People) -> None:
    answer = people.customer().post("/things/rename", {"name": "<taken>"})
    assert answer.status_code == 422
    assert 'value="&lt;taken&gt;"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert 'aria-describedby="name-wrong name-hint"' in answer.text
    assert answer.text.count("is taken: &lt;taken&gt;") == 2  # in the summary, which has the focus, and at the field
    assert 'role="alert" tabindex="-1" autofocus' in answer.text


def test_after_a_change_the_next_page_says_so(people: People) -> None:
    browser = people.customer()
    answer = browser.post("/things/rename", {"name": "new"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/portal/things?done=saved")
    assert '<p class="done" role="status">Saved.</p>' in browser.get("/things?done=saved").text
    assert 'role="status"' not in browser.get("/things?done=<b>anything</b>").text


def test_what_cannot_be_taken_back_needs_the_key_again(people: People) -> None:
    browser = people.operator()
    for answer in (browser.get("/things/delete"), browser.post("/things/delete")):
        assert (answer.status_code, answer.headers["Location"]) == (303, "/console/prove?next=%2Fthings%2Fdelete")
    assert "Show your key again" in browser.get("/prove?next=/things/delete").text


def test_the_proof_holds_for_ten_minutes(people: People) -> None:
    browser = people.operator(proved=True)
    page = browser.get("/things/delete").text
    assert ("3,518 deliveries" in page, 'name="confirm"' in page) == (True, False)
    assert browser.post("/things/delete").headers["Location"] == "/console/things?done=deleted"
    age(people, 601)
    assert browser.post("/things/delete").headers["Location"].startswith("/console/prove")


def age(people: People, seconds: int) -> None:
    statement = "UPDATE dispatcher.sessions SET proved_at = proved_at - :age * interval '1 second'"
    change(people.installation.engine, statement, age=seconds)


def test_a_customer_types_the_name_instead(people: People) -> None:
    browser: Browser = people.customer()
    assert "type “orders-eu”" in browser.get("/things/delete").text
    for typed in ("", "orders", "Orders-EU"):
        assert browser.post("/things/delete", {"confirm": typed}).status_code == 422
    assert (
        browser.post("/things/delete", {"confirm": " orders-eu "}).headers["Location"] == "/portal/things?done=deleted"
    )


def test_a_form_that_no_browser_sends_is_refused(people: People) -> None:
    browser = people.customer()
    for body in (b"name=%ff", b"\xff", b"a=1&" * 600):
        answer = browser.post("/things/rename", body)  # type: ignore[arg-type]
        assert answer.status_code == 400


def test_who_may_only_look_gets_no_form_and_changes_nothing(people: People) -> None:
    for browser in (people.operator(Scope.OBSERVE), people.customer("acme", "read")):
        assert browser.get("/things").status_code == 200
        for answer in (browser.get("/things/rename"), browser.post("/things/rename", {"name": "new"})):
            assert (answer.status_code, "change nothing" in answer.text) == (403, True)
