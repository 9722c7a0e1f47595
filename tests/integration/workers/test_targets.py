"""The cache of webhooks of a loop: bounded by number and by bytes."""

import sys
from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy import Engine

from dispatcher.masking.forms import Form
from dispatcher.settings import Settings
from dispatcher.webhooks import fields
from tests.factories import change_webhook, make_webhook
from tests.installations import installation_for
from workers.callbacks import targets
from workers.callbacks.targets import Targets
from workers.metrics.counts import Counts
from workers.shared_memory import cells_of

RULES = {str(status): {"verdict": "rejected"} for status in range(400, 450)}


@pytest.mark.parametrize(("bound", "most"), [("KEPT", 3), ("KEPT_BYTES", 100_000)])
def test_what_was_used_longest_ago_leaves_it(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    made = [make_webhook(database, settings, url="https://example.com/", contract={"rules": RULES}) for _ in range(4)]
    first, *others, last = (str(webhook.id) for webhook in made)
    monkeypatch.setattr(targets, bound, most)  # each of them has about 30,000 bytes
    installation, read, reads = installation_for(settings), Targets._read, list[str]()

    def noted(self: Targets, connection: Any, ids: Iterable[str]) -> Any:
        reads.extend(ids)
        return read(self, connection, ids)

    monkeypatch.setattr(Targets, "_read", noted)
    kept = Targets(installation.vault, installation.timing, Counts(cells_of(0)))
    with database.connect() as connection:
        for wanted in (first, *others, first, last, first, *others):
            assert set(kept.load(connection, {wanted: 1})) == {wanted}
    assert reads == [first, *others, last, *others]


def test_a_new_version_takes_the_place_of_the_one_before(
    database: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = make_webhook(database, settings, url="https://example.com/", contract={"rules": RULES})
    other = make_webhook(database, settings, url="https://example.com/")
    installation = installation_for(settings)
    kept = Targets(installation.vault, installation.timing, Counts(cells_of(0)))
    monkeypatch.setattr(targets, "KEPT_BYTES", 50_000)
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        kept.load(connection, {str(other.id): 1})
        for version in range(1, 4):
            assert kept.load(connection, {str(webhook.id): version})[str(webhook.id)].version == version
            change_webhook(database, settings, webhook, "update", contract_changes={"timeout_seconds": version})
        monkeypatch.setattr(Targets, "_read", lambda *_: sys.exit("read again"))
        kept.load(connection, {str(other.id): 1, str(webhook.id): 3})


ESCAPED = "%41+" * 1000
OLDER = {f"X-{number}": f"{number:02}{ESCAPED}" for number in range(20)}  # more than may be given now
PARAMETERS = "&".join(f"a{number}=secret{number:03}" for number in range(100))


@pytest.mark.parametrize(
    ("url", "headers", "most_made", "most_bytes"),
    [
        ("https://example.com/", {"X-Key": "a-usual-key"}, 20, 7_000),
        ("https://example.com/", {f"X-{number}": f"usual-{number:05}" for number in range(20)}, 200, 40_000),
        ("https://example.com/", {name: OLDER[name] for name in list(OLDER)[:4]}, 120, 40_000),
        (f"https://example.com/?{PARAMETERS}", OLDER, 0, 90_000),
    ],
    ids=["usual", "many", "long", "most"],
)
def test_what_one_costs_a_claim_is_bounded_whatever_its_customer_gave(
    database: Engine,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    headers: dict[str, str],
    most_made: int,
    most_bytes: int,
) -> None:
    monkeypatch.setattr(fields, "MAX_HEADER_VALUES", 20 * 4096)
    webhook = make_webhook(database, settings, url=url, headers=headers)
    installation, read = installation_for(settings), list[int]()
    kept = Targets(installation.vault, installation.timing, Counts(cells_of(0)))
    made = Form.__new__
    monkeypatch.setattr(Form, "__new__", lambda *form: read.append(len(form[1])) or made(*form))
    with database.connect() as connection:
        target = kept.load(connection, {str(webhook.id): 1})[str(webhook.id)]
    assert len(read) <= most_made
    assert target.size < most_bytes
    assert (target.secret_values is None) == (most_made == 0)
