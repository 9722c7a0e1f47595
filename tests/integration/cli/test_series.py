"""`dispatcher series`: what came of requests over time."""

from datetime import UTC, datetime

from sqlalchemy import Engine

from dispatcher.settings import Settings
from tests.factories import make_webhook, upkeep_once
from tests.integration.cli.conftest import Cli
from tests.requests_made import Made, record


def test_series_are_of_a_webhook_an_account_or_all(cli: Cli, database: Engine, settings: Settings) -> None:
    made = {
        account: make_webhook(database, settings, url="https://example.com/", account=account, name=f"at-{account}")
        for account in ("acme", "globex")
    }
    upkeep_once(settings)
    now = datetime.now(UTC)
    record(database, [Made(now, made["acme"].id, messages=3)] * 2)
    record(database, [Made(now, made["globex"].id, verdict="temporary", status=None, failure="dns")])

    def total(*options: str) -> dict[str, int]:
        document = cli("series", "--json", "--step", "5m", *options).document
        return {outcome: counted["messages"] for outcome, counted in document["total"]["outcomes"].items()}

    assert total() == {"ok": 6, "temporary:dns": 1}
    assert total("--account", "acme") == total("--webhook", "at-acme") == {"ok": 6}
    assert total("--webhook", str(made["globex"].id)) == {"temporary:dns": 1}
    said = cli("series", "--since", "2h", "--until", "30m", "--account", "acme")
    assert len(said.out.splitlines()) > 18  # a line for each five minutes
    said = cli("series", "--since", "5m")
    assert "temporary:dns" in said.out
    assert cli("series", "--webhook", str(made["acme"].id), "--account", "globex").status == 1
    assert "counts by 5m are kept for 48 hours" in cli("series", "--since", "3d", "--step", "5m").err
