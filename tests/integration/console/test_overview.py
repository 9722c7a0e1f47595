"""`/overview` and the charts of a webhook: what is wrong is shown, and it is read once however many look."""

import re
from datetime import timedelta
from threading import Event
from time import monotonic
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import Engine

from benchmarks.lookers import Looker
from dispatcher.accounts.api_keys import Scope
from dispatcher.console import looks, view
from dispatcher.console.looks import looks_of
from dispatcher.ids import new_id
from dispatcher.settings import Settings
from tests.factories import change, make_webhook
from tests.integration.console.conftest import Browser, People, statements
from tests.receiver import Receiver
from tests.requests_made import Made, record
from workers.maintenance.pulses import count_pulses


@pytest.fixture
def busy(people: People, database: Engine, settings: Settings, receiver: Receiver) -> None:
    """Two webhooks of acme, one of which refuses a half, and one of globex, all within the last quarter of an hour."""
    now = people.installation.clock()
    hooks = {
        name: make_webhook(database, settings, account=account, name=name, url=receiver.url(f"/{name}")).id
        for name, account in (("healthy", "acme"), ("refusing", "acme"), ("secret-of-globex", "globex"))
    }
    at = now - timedelta(minutes=3)
    made = [Made(at, hooks["healthy"], ms=40)] * 30 + [Made(at, hooks["secret-of-globex"], ms=40)] * 7
    made += [Made(at, hooks["refusing"], ms=90)] * 15 + [Made(at, hooks["refusing"], "rejected", 401, ms=90)] * 15
    record(database, made)
    count_pulses(people.installation.engine, now, monotonic() + 30)


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_it_shows_figures_of_all_what_is_wrong_and_which_webhooks_need_a_look(people: People, busy: None) -> None:
    page = people.operator().get("/overview").text
    said = words(page)
    assert "Delivered 52 Retried 0 Rejected 15" in said
    assert "77.6 % of 67" in said
    assert "no deliver process lives" in said, "nothing runs here"
    assert re.search(r"refusing acme .* 401 Unauthorized 15 50.0 % of 30", said)
    assert "healthy" not in said
    assert page.count("<svg") >= 3


def test_the_portal_shows_the_accounts_own_and_no_word_of_the_installation(people: People, busy: None) -> None:
    said = words(people.customer("acme").get("/overview").text)
    assert "Delivered 45 Retried 0 Rejected 15" in said
    assert "refusing" in said
    assert "globex" not in said
    assert "process" not in said


def test_the_portal_shows_webhooks_that_are_down_however_few_requests_they_get(
    people: People, database: Engine, settings: Settings
) -> None:
    down = make_webhook(database, settings, account="acme", name="down", url="http://127.0.0.1:9/down")
    other = make_webhook(database, settings, account="globex", name="of-globex", url="http://127.0.0.1:9/other")
    opened = "INSERT INTO dispatcher.circuit_breakers VALUES (:id, 9, now(), now(), 1, now())"
    for webhook in (down, other):
        change(database, opened, id=webhook.id)
    said = words(people.customer("acme").get("/overview").text)
    assert re.search(r"down http://127.0.0.1:9/down Circuit open", said)
    assert "of-globex" not in said


def test_of_a_webhook_that_is_down_the_failures_are_told_however_few_there_were(
    people: People, database: Engine, settings: Settings
) -> None:
    down = make_webhook(database, settings, account="acme", name="down", url="http://127.0.0.1:9/down")
    change(database, "INSERT INTO dispatcher.circuit_breakers VALUES (:id, 9, now(), now(), 1, now())", id=down.id)
    failed = {"verdict": "temporary", "status": None, "failure": "timeout"}
    now = people.installation.clock()
    record(database, [Made(now - timedelta(minutes=3), down.id, **failed)] * 3)
    count_pulses(people.installation.engine, now, monotonic() + 30)
    said = words(people.customer("acme").get("/overview").text)
    assert re.search(r"down http://127.0.0.1:9/down Circuit open .* timeout no answer in time 3 100 % of 3", said)


def test_when_an_account_was_suspended_is_not_when_its_webhook_began_to_fail(
    people: People, database: Engine, settings: Settings, busy: None
) -> None:
    webhook = looks_up(database, "refusing")
    failing = "INSERT INTO dispatcher.circuit_breakers (webhook_id, failures, failing_since) VALUES (:id, 9, now())"
    change(database, failing, id=webhook)
    operator = people.operator()
    assert re.search(r"refusing acme \S+ Failing since", words(operator.get("/overview").text))
    change(database, "UPDATE dispatcher.accounts SET suspended_at = now() WHERE name = 'acme'")
    assert re.search(r"refusing acme \S+ Account suspended (?!since)", words(operator.get("/overview").text))


def test_a_webhook_shows_its_outcomes_and_answer_times(people: People, busy: None, database: Engine) -> None:
    identifier = looks_up(database, "refusing")
    said = words(people.operator().get(f"/webhooks/{identifier}?span=1h").text)
    assert "Delivered 15 Retried 0 Rejected 15" in said
    assert "half within about" in said


def test_a_webhook_that_rejects_a_half_or_more_is_called_so_wherever_it_is_shown(
    people: People, busy: None, database: Engine
) -> None:
    operator = people.operator()
    assert re.search(r"refusing acme \S+ Rejecting", words(operator.get("/overview").text))
    assert re.search(r"refusing \S+ .*?Rejecting", words(operator.get("/webhooks?account=acme").text))
    own = operator.get(f"/webhooks/{looks_up(database, 'refusing')}").text
    assert re.search(r"<h1>.*refusing.*Rejecting", own)
    assert 'class="why bad"' in own
    assert "Rejecting" not in operator.get(f"/webhooks/{looks_up(database, 'healthy')}").text


def looks_up(database: Engine, name: str) -> str:
    with database.connect() as connection:
        return str(connection.exec_driver_sql(f"SELECT id FROM dispatcher.webhooks WHERE name = '{name}'").scalar_one())


def test_however_many_look_it_is_read_once_in_a_while(
    people: People, busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "FRESH", 60.0)
    browsers = [people.operator() for _ in range(3)]
    counted = []
    for browser in browsers:
        with statements() as sent:
            assert browser.get("/overview").status_code == 200
        counted.append(len(sent))
    assert counted[0] > counted[1] == counted[2]
    assert counted[1] <= 8
    with statements() as sent:
        assert browsers[0].get("/overview?span=1h").status_code == 200
    assert len(sent) == counted[1] + 1, "the series of another span, but not what fails"


def test_what_takes_long_to_read_is_read_more_rarely_but_once_in_a_minute(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, now, reads = looks_of(people.installation), [0.0], [0]
    monkeypatch.setattr(looks, "monotonic", lambda: now[0])

    def read_at(moment: float, takes: float) -> int:
        def read() -> int:
            now[0] += takes
            reads[0] += 1
            return reads[0]

        now[0] = moment
        return kept.fresh("slow", read)

    assert [read_at(0, 0.05), read_at(5.0, 0), read_at(5.1, 0.5)] == [1, 1, 2]  # in 5 s, as usual
    assert [read_at(35.5, 0), read_at(35.7, 30)] == [2, 3]  # half a second: in half a minute
    assert [read_at(125.6, 0), read_at(125.8, 0)] == [3, 4]  # half a minute: in a minute


def test_the_live_part_is_made_once_in_a_while_for_all_who_look_with_the_same_rights(
    people: People, busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "SHARED", 60.0)
    first, second, observer = people.operator(), people.operator(), people.operator(Scope.OBSERVE)

    def look(browser: Browser, path: str = "/overview", **cookies: str) -> tuple[str, int]:
        browser.cookies |= cookies
        with statements() as sent:
            answer = browser.get(path, HX_Request="true", HX_Target="div#now")
        assert answer.status_code == 200
        return answer.text, len(sent)

    made, _ = look(first)
    assert made.lstrip().startswith('<div id="now"')
    assert look(second) == (made, 1), "only who looks is asked for"
    for other in (look(observer), look(second, "/overview?span=7d"), look(people.customer("globex"))):
        assert other[1] > 1
    elsewhere, asked = look(second, tz="Asia/Tokyo")
    assert asked > 1
    assert elsewhere != made, "times are in the reader's zone"
    with statements() as sent:
        assert first.get("/overview").text.startswith("<!doctype html>")
    assert len(sent) > 1, "a page says who looks"


def test_the_benchmarks_people_look_at_the_live_part_as_browsers_do(people: People, busy: None) -> None:
    browser, ended = people.operator(), Event()
    one = Looker(int(people.origin.rpartition(":")[2]), f"console={browser.cookies['console']}")
    assert one.every == 5
    looks = []

    def wait(seconds: float) -> bool:  # until the second look
        looks.append(seconds)
        if len(looks) == 3:
            ended.set()
        return ended.is_set()

    waiting = SimpleNamespace(wait=wait, is_set=ended.is_set)
    assert one.look(cast(Event, waiting)) == 2
    assert 0 <= looks[0] <= 5
    assert looks[1:] == [5, 5]


def test_what_nobody_asks_for_any_more_is_not_kept(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = looks_of(people.installation)
    for number in range(3 * looks._MOST):
        assert kept.fresh(number, lambda number=number: number) == number
    assert len(kept._kept) == looks._MOST
    monkeypatch.setattr(looks, "FRESH", -60.0)
    kept.fresh("last", lambda: 0)
    assert list(kept._kept) == ["last"]


def test_pages_share_what_they_look_with(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    engine = looks.reading_engine
    monkeypatch.setattr(looks, "reading_engine", lambda *given, **more: made.append(given) or engine(*given, **more))
    assert looks_of(people.installation) is looks_of(people.installation)
    assert len(made) == 1


def test_a_database_that_is_away_is_a_page_that_says_so(people: People, busy: None, database: Engine) -> None:
    looks_of(people.installation)
    change(database, "ALTER TABLE dispatcher.pulse_marks RENAME TO away")
    try:
        answer = people.operator().get("/overview")
    finally:
        change(database, "ALTER TABLE dispatcher.away RENAME TO pulse_marks")
    assert answer.status_code == 503
    assert answer.headers["X-Request-Id"] in answer.text


def test_the_system_shows_what_lives_and_what_doctor_checks(people: People, database: Engine) -> None:
    beat = """
    INSERT INTO dispatcher.processes (id, kind, host, pid, version, schema_from, schema_to, started_at, seen_at, doing)
    VALUES (:id, 'deliver', :host, 7, '9', '', '', now(), now(), 'idle')
    """
    for number in range(3):
        change(database, beat, id=new_id(), host=f"worker-{number // 2}")
    said = words(people.operator().get("/system").text)
    assert re.search(r"deliver worker-0 2 9 2 idle .* deliver worker-1 1 9 idle", said)
    assert re.search(r"partitions tables Fine", said)
    assert re.search(r"heartbeats engine Now .*no maintenance process lives", said)
    assert people.customer("acme").get("/system").status_code == 404
