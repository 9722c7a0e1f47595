"""Events and deliveries in console and portal: what is told of them, and what can be done."""

import html
import re
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher import enqueue
from dispatcher.accounts.api_keys import Scope
from dispatcher.console import cards
from dispatcher.deliveries.masked import masked
from dispatcher.settings import Settings
from tests.behaviours import Answer
from tests.factories import change, deliver_all, deliveries, make_webhook, rows
from tests.integration.console.conftest import Browser, People, statements
from tests.receiver import Receiver

DATA = b'{"from":"27831234567","price":12345678901234567890.10,"a":1,"a":2,"nested":{"body":"see you at ten"},"no":[]}'


def texts(page: str) -> str:
    """What is read on a page."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


def card(page: str, webhook: Any) -> str:
    """What a page of an event says of its delivery to a webhook."""
    (found,) = (each for each in page.split('<section class="panel delivery"') if f"/webhooks/{webhook.id}" in each)
    return found.split("</section>")[0]


@pytest.fixture
def hooks(people: People, database: Engine, settings: Settings, receiver: Receiver) -> Mapping[str, Any]:
    """Webhooks of one account that take a message, refuse it, fail, and are disabled. Each had one."""
    receiver.script("/refuse", Answer(422, (("X-Trace", "a\u00e9"),), b"<script>alert(1)</script> no +27831234567"))
    paths = {"takes": "/ok", "refuses": "/refuse", "fails": "/status/503", "is-disabled": "/ok"}
    made = {
        name: make_webhook(database, settings, name=name, url=receiver.url(path), enabled=name != "is-disabled")
        for name, path in paths.items()
    }
    enqueue("message.sent", DATA, account="acme", subject="4023457654", app="eu")
    deliver_all(settings)
    return made


@pytest.fixture
def event(hooks: Mapping[str, Any], database: Engine) -> str:
    (found,) = rows(database, "SELECT id FROM dispatcher.events")
    return f"/events/{found.id}"


def delivery_to(database: Engine, webhook: Any) -> Any:
    (found,) = (each for each in deliveries(database) if each.webhook_id == webhook.id)
    return found


def test_an_event_says_of_each_delivery_why_it_was_not_made_and_who_may_changes_it(
    people: People, hooks: Mapping[str, Any], event: str
) -> None:
    for browser in (people.operator(), people.customer()):
        with statements() as sent:
            page = browser.get(event).text
        assert len(sent) <= 8
        assert "1 of 4 · 1 discarded · 1 waiting · 1 ready" in texts(page)
        wanted = {
            "refuses": ("Discarded", "the receiver rejected it, which is final", "422 Unprocessable", "Send again"),
            "fails": ("Waits", "Retry 1 of", "503 Service Unavailable", "Try now"),
            "is-disabled": ("Held back", "nothing is sent to it until it is enabled", "", "Cancel"),
            "takes": ("Delivered", "the receiver answered 200", "200 OK", "Send again"),
        }
        for name, said in wanted.items():
            shown = texts(card(page, hooks[name]))
            assert [part for part in said if part not in shown] == [], (name, shown)
        places = [page.index(f"/webhooks/{hooks[name].id}") for name in wanted]
        assert places == sorted(places)  # what did not arrive comes first
    for browser in (people.operator(Scope.OBSERVE), people.customer("acme", "read")):
        page = browser.get(event).text
        assert "which is final" in page
        offered = ("Send again", "Try now", "Cancel", "Reveal", "Send to one")
        assert [word for word in offered if word in texts(page)] == []
        assert browser.get(f"{event}/send").status_code == 403


def test_attempts_and_message_are_shown_as_they_were_sent_and_masked(
    people: People, hooks: Mapping[str, Any], event: str
) -> None:
    page = people.operator().get(event).text
    shown = card(page, hooks["refuses"])
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; no +***" in shown  # as `dispatcher delivery show` has it
    assert '[{"from":"***","price":12345678901234567890.10,"a":1,"a":2,' in html.unescape(shown)
    assert "Dispatcher-Attempt: 1" in shown
    assert f"curl -X POST {hooks['refuses'].url_masked}" in html.unescape(shown)
    assert "27831234567" not in page
    message = html.unescape(re.sub(r"</?mark>", "", page)).split('id="message-text"')[1]
    assert message.split(">", 1)[1].split("</pre>")[0] == (
        '{\n  "from": "***",\n  "price": 12345678901234567890.10,\n  "a": 1,\n  "a": 2,\n'
        '  "nested": {\n    "body": "***"\n  },\n  "no": []\n}'
    )


def test_what_a_page_has_no_room_for_is_neither_made_nor_masked(
    people: People, hooks: Mapping[str, Any], event: str, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(cards, "masked", lambda attempt, *given: made.append(attempt) or masked(attempt, *given))
    browser = people.operator()
    assert ("Request and answer" in texts(browser.get(event).text), len(made)) == (False, 3)
    made.clear()
    monkeypatch.setattr(cards, "SHOWN", 700)
    page = browser.get(event).text
    assert ("Dispatcher-Attempt: 1" in card(page, hooks["refuses"]), len(made)) == (True, 1)
    assert texts(page).count("Request and answer") == 2
    monkeypatch.setattr(cards, "SHOWN", 1)  # less than the first one takes
    change(database, "DELETE FROM dispatcher.requests WHERE webhook_id = :id", id=hooks["takes"].id)
    assert "Request and answer are no longer kept." in texts(card(browser.get(event).text, hooks["takes"]))


def test_a_body_that_cannot_be_made_again_is_not_guessed(
    people: People, hooks: Mapping[str, Any], event: str, database: Engine
) -> None:
    change(database, "UPDATE dispatcher.webhooks SET updated_at = now() WHERE id = :id", id=hooks["refuses"].id)
    change(
        database,
        "UPDATE dispatcher.requests SET headers_masked = 'Dispatcher-Batch-Size: 2' WHERE webhook_id = :id",
        id=hooks["takes"].id,
    )
    page = people.operator().get(event).text
    assert "The webhook has changed since" in texts(card(page, hooks["refuses"]))
    assert "It carried several messages" in texts(card(page, hooks["takes"]))
    assert "price" not in card(page, hooks["refuses"]) + card(page, hooks["takes"])


def test_who_may_see_secrets_can_reveal_a_message_and_that_is_written(
    people: People, event: str, database: Engine
) -> None:
    reader = people.customer("acme", "read", "manage")
    assert "Reveal" not in reader.get(event).text
    assert reader.post(f"{event}/reveal").status_code == 403
    assert people.operator(Scope.OBSERVE).post(f"{event}/reveal").status_code == 403
    assert rows(database, "SELECT 1 FROM dispatcher.audit WHERE action = 'event.message_shown'") == []
    for browser in (people.customer(), people.operator()):
        revealed = browser.post(f"{event}/reveal")
        assert (revealed.status_code, revealed.text.count("see you at ten")) == (
            200,
            7,
        )  # with three requests, and as curl
        part = browser.post(f"{event}/reveal", HX_Request="true", HX_Target="section#message").text
        assert (part.count("see you at ten"), "<html" in part) == (1, False)
    entries = rows(database, "SELECT * FROM dispatcher.audit WHERE action = 'event.message_shown'")
    assert [str(entry.target_id) for entry in entries] == [event.removeprefix("/events/")] * 4
    assert {entry.actor_kind for entry in entries} == {"console", "portal"}


def test_a_revealing_counts_as_a_change_since_it_is_written(people: People, event: str, database: Engine) -> None:
    change(database, """UPDATE dispatcher.accounts SET limits = '{"writes_per_minute": 1}'""")
    customer = people.customer()
    assert [customer.post(f"{event}/reveal").status_code for _ in range(2)] == [200, 429]
    assert len(rows(database, "SELECT 1 FROM dispatcher.audit WHERE action = 'event.message_shown'")) == 1
    assert customer.get(event).status_code == 200


def test_an_accounts_own_limits_hold_in_the_portal(
    people: People, hooks: Mapping[str, Any], event: str, database: Engine
) -> None:
    change(database, """UPDATE dispatcher.accounts SET limits = '{"stored_bytes": 1}', stored_bytes = 1""")
    customer = people.customer()
    refused = customer.post(f"/deliveries/{delivery_to(database, hooks['refuses']).id}/send")
    assert (refused.status_code, "stored" in refused.text) == (429, True)
    change(database, """UPDATE dispatcher.accounts SET limits = '{"reads_per_minute": 2}'""")
    assert [customer.get(event).status_code for _ in range(3)] == [200, 200, 429]


def do(browser: Browser, path: str, fields: dict[str, str] | None = None) -> str:
    """What comes of a change that was asked for first."""
    assert browser.get(path).status_code == 200
    answer = browser.post(path, fields)
    return answer.headers["Location"].removeprefix(f"/{browser.kind}") if answer.is_redirect else texts(answer.text)


def led_to(event: str, delivery: Any, done: str) -> str:
    """The page after a change of a delivery."""
    return f"{event}?delivery={delivery.id}&done={done}"


def test_a_message_is_sent_again_and_counts_as_a_redelivery(
    people: People, hooks: Mapping[str, Any], event: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/refuse", Answer(200))
    refused = delivery_to(database, hooks["refuses"])
    customer = people.customer()
    asked = customer.get(f"/deliveries/{refused.id}/send", HX_Request="true", HX_Target="div#question").text
    assert "Attempt 2 is made within seconds" in texts(asked.split('<div id="question">')[1])  # as the dialog takes it
    assert do(customer, f"/deliveries/{refused.id}/send") == led_to(event, refused, "redelivered")
    sent = customer.get(led_to(event, refused, "redelivered")).text
    assert "It is sent again." in sent
    assert sent.index(f"/webhooks/{hooks['refuses'].id}") < sent.index(f"/webhooks/{hooks['fails'].id}")
    deliver_all(settings)
    assert delivery_to(database, hooks["refuses"]).state == "delivered"
    asked = texts(customer.get(f"/deliveries/{refused.id}/send").text)
    assert "the receiver gets it a second time" in asked


def test_what_waits_is_tried_now_or_cancelled(
    people: People, hooks: Mapping[str, Any], event: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    receiver.script("/status/503", Answer(200))
    waits, due = delivery_to(database, hooks["fails"]), delivery_to(database, hooks["is-disabled"])
    operator = people.operator()
    assert "It does not wait until" in texts(operator.get(f"/deliveries/{waits.id}/send").text)
    assert do(operator, f"/deliveries/{waits.id}/send") == led_to(event, waits, "redelivered")
    deliver_all(settings)
    assert delivery_to(database, hooks["fails"]).state == "delivered"
    assert do(operator, f"/deliveries/{due.id}/cancel") == led_to(event, due, "cancelled")
    assert delivery_to(database, hooks["is-disabled"]).state == "cancelled"
    again = do(operator, f"/deliveries/{due.id}/cancel")
    assert "Nothing was done" in again
    assert "only an open one can be cancelled" in again
    actions = [entry.action for entry in rows(database, "SELECT * FROM dispatcher.audit ORDER BY id")]
    assert actions[-3:] == ["delivery.cancelled", "delivery.redelivered", "delivery.cancelled"]


def test_an_event_is_sent_to_one_webhook_by_choice(
    people: People, hooks: Mapping[str, Any], event: str, database: Engine, settings: Settings, receiver: Receiver
) -> None:
    new = make_webhook(database, settings, name="new", url=receiver.url("/new"), event_types=["other"])
    theirs = make_webhook(database, settings, account="globex", name="theirs", url=receiver.url("/theirs"))
    customer, path = people.customer(), f"{event}/send"
    offered = customer.get(path).text
    assert ("new" in offered, "is-disabled" in offered, "theirs" in offered) == (True, False, False)
    led = do(customer, path, {"webhook": str(new.id)})
    assert led == led_to(event, delivery_to(database, new), "redelivered")
    deliver_all(settings)
    assert len(receiver.at("/new")) == 1
    assert "is on its way" in do(customer, path, {"webhook": str(hooks["fails"].id)})
    assert "is disabled" in do(customer, path, {"webhook": "is-disabled"})
    assert "is not known here" in do(customer, path, {"webhook": "theirs"})
    assert customer.post(path, {"webhook": str(theirs.id)}).status_code == 404


def test_lists_say_what_became_of_each_and_are_searched(
    people: People, hooks: Mapping[str, Any], event: str, database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, account="globex", url="https://hooks.example.com/", event_types=["other"])
    enqueue("call.ended", {}, account="globex", subject="4023457654")
    operator, customer = people.operator(), people.customer()
    for browser, is_console in ((operator, True), (customer, False)):
        assert "1 of 4 delivered" in texts(browser.get("/events").text)
        assert ("No webhook" in texts(browser.get("/events").text)) == is_console
        for query in ("type=message", "app=eu", "account=acme&subject=4023457654", "since=2020-01-01T00:00"):
            found = browser.get(f"/events?{query}").text
            assert (event in found, "globex" in found) == (True, is_console and query.startswith("since")), query
        for query in ("type=mess", "until=2020-01-01T00:00", "state=unmatched", "subject=402"):
            assert event not in browser.get(f"/events?{query}").text, query
        for state, name in (("discarded", "refuses"), ("waiting", "fails"), ("ready", "is-disabled")):
            found = browser.get(f"/deliveries?state={state}").text
            assert [each for each in hooks if f">{each}<" in found] == [name]
        assert "the receiver refused it" in texts(browser.get(f"/deliveries?webhook={hooks['refuses'].id}").text)
        assert "the receiver refused it" in texts(browser.get("/deliveries?webhook=refuses&reason=rejected").text)
    (theirs,) = rows(database, "SELECT id FROM dispatcher.events WHERE type = 'call.ended'")
    assert "no webhook took it" in texts(operator.get(f"/events/{theirs.id}").text)
    several = operator.get("/events?subject=4023457654").text
    assert "2 accounts have events with this subject" in texts(several)
    assert "account=globex" in several
    for browser, query in ((operator, "account=nobody"), (customer, "since=today")):
        answer = browser.get(f"/events?{query}")
        assert (answer.status_code, "why-wrong" in answer.text) == (422, True)
    assert operator.get("/deliveries?state=waiting&reason=rejected").status_code == 422
    assert "refuses acme" in texts(operator.get("/deliveries").text)
    assert "refuses acme" not in texts(people.customer().get("/deliveries").text)


def test_an_event_that_no_webhook_took_says_what_each_takes(
    people: People, database: Engine, settings: Settings
) -> None:
    make_webhook(database, settings, name="calls", url="https://hooks.example.com/", event_types=["call.ended"])
    enqueue("call.endet", {}, account="acme")
    (found,) = rows(database, "SELECT id FROM dispatcher.events")
    customer = people.customer()
    with statements() as sent:
        page = texts(customer.get(f"/events/{found.id}").text)
    assert len(sent) <= 8
    assert "no webhook took it" in page
    assert "“calls” takes call.ended" in page


def test_many_attempts_are_on_several_pages_and_none_is_too_large(
    people: People, hooks: Mapping[str, Any], event: str, database: Engine
) -> None:
    delivery = delivery_to(database, hooks["refuses"])
    change(
        database,
        "WITH q AS (INSERT INTO dispatcher.requests SELECT (r).* FROM ("
        "  SELECT jsonb_populate_record(q, jsonb_build_object('id', overlay(q.id::text PLACING lpad(n::text, 4, '0')"
        "    FROM 33), 'answer_excerpt', convert_to(repeat(md5(n::text), 100), 'UTF8'))) AS r"
        "  FROM dispatcher.requests q, generate_series(2, 25) n WHERE q.webhook_id = :webhook) made RETURNING id)"
        " INSERT INTO dispatcher.attempts (id, delivery_id, number, request_id, verdict, outcome_unknown, created_at)"
        " SELECT id, :delivery, row_number() OVER (ORDER BY id) + 1, id, 'rejected', false, now() FROM q",
        webhook=hooks["refuses"].id,
        delivery=delivery.id,
    )
    customer = people.customer()
    page = customer.get(event).text
    numbers = [int(number) for number in re.findall(r"Attempt (\d+)<", page)]
    assert numbers[:10] == [*range(25, 15, -1)]
    assert 3 <= page.count("Answer after") < 10  # the others on pages of their own
    assert f"/deliveries/{delivery.id}?before=18" in page
    (link,) = set(re.findall(rf"/deliveries/{delivery.id}\?before=16", page))
    older = customer.get(link).text
    assert [int(number) for number in re.findall(r"Attempt (\d+)<", older)] == [*range(15, 0, -1)]
    assert "Earlier attempts" not in older
    assert "Answer after" in customer.get(f"/deliveries/{delivery.id}?before=2").text
