"""Hostile arguments and input are one error without a traceback, and nothing of them steers the terminal."""

import pytest
from sqlalchemy import Engine

from dispatcher.settings import Settings
from tests import hostile_values
from tests.factories import make_account, make_webhook, rows
from tests.hostile_values import steering
from tests.integration.cli.conftest import Cli

ID = "0198c0de-0000-7000-8000-00000000dead"
NEW = ("webhook", "create", "--account", "acme", "--url", "http://a.test/", "--type", "a")

# Commands that end with the value in question.
PLACES = [
    ("delivery", "show"),
    ("delivery", "list", "--account"),
    ("delivery", "list", "--account", "acme", "--state"),
    ("event", "list", "--account", "acme", "--subject"),
    ("event", "list", "--account", "acme", "--type"),
    ("event", "list", "--account", "acme", "--since"),
    ("enqueue", "--account", "acme", "--type"),
    ("enqueue", "--account", "acme", "--type", "a", "-", "--subject-member"),
    ("key", "create", "--account", "acme", "--days"),
    (*NEW, "--rule"),
    (*NEW, "--timeout"),
    (*NEW, "--body-signature"),
    (*NEW, "--contact"),
    (*NEW, "--bearer-from"),
    (*NEW, "--headers-from"),
    ("webhook", "rotate-secret", ID, "--overlap"),
    (),
]

VALUES = [
    " ".join(text for text in hostile_values.TEXTS.values() if "/" not in text),
    *(hostile_values.ALL[name] for name in ("bidi", "escaped bytes", "long")),
    *("nan", "1" * 5_000 + "=rejected"),
]


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_an_argument_is_one_error_or_taken_and_steers_nothing(
    cli: Cli, database: Engine, settings: Settings, place: tuple[str, ...]
) -> None:
    make_account(database)
    for text in VALUES:
        ran = cli(*place, text, stdin=b"{}\n")
        assert ran.status in {0, 1, 2}
        assert not steering(ran.out + ran.err)
        assert len(ran.err) < 4_000 + 4 * len(text)


@pytest.mark.parametrize("place", [(*NEW, "--bearer-from", "-"), (*NEW, "--headers-from", "-"),
                                   (*NEW, "--basic-username", "user", "--basic-password-from", "-")])  # fmt: skip
def test_input_that_is_no_utf8_is_one_error(
    cli: Cli, database: Engine, settings: Settings, place: tuple[str, ...]
) -> None:
    make_account(database)
    for raw in [*hostile_values.NO_UTF8.values(), b"X-A: \xff\n"]:
        ran = cli(*place, stdin=raw)
        assert ran.status in {1, 2}
        assert not steering(ran.out + ran.err)
    assert rows(database, "SELECT 1 FROM dispatcher.webhooks") == []


def test_no_line_end_brings_a_header_of_its_own(cli: Cli, database: Engine, settings: Settings) -> None:
    make_account(database)
    for end in ("\x0b", "\x0c", "\x1c", "\x85", "\u2028"):
        ran = cli(*NEW, "--headers-from", "-", stdin=f"X-A: a{end}X-Evil: b\n".encode())
        assert (ran.status, ran.err) == (
            1,
            "Error: X-A of headers (--headers-from) must be printable ASCII without spaces at either end\n",
        )
    ran = cli(*NEW, "--headers-from", "-", "--json", stdin=b"X-A: a\r\nX-B: b\n")
    assert ran.document["headers"] == {"X-A": "***", "X-B": "***"}


def test_the_earliest_and_the_latest_day_are_days(cli: Cli, database: Engine, settings: Settings) -> None:
    make_account(database)
    for option in ("--since", "--until"):
        for day in ("0001-01-01", "1969-12-31T23:59:59", "9999-12-31"):
            assert cli("event", "list", "--account", "acme", option, day, "--json").document == []


def test_a_webhooks_words_are_shown_as_they_are(cli: Cli, database: Engine, settings: Settings) -> None:
    odd = "[red]%s{x}{{7*7}} <b>&amp; :smile: 'x'; --"
    make_webhook(database, settings, url="http://a.test/", name=odd, app=odd)
    assert odd in cli("webhook", "list").out
    assert cli("webhook", "list", "--json").document[0]["name"] == odd
