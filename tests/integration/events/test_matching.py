"""Which webhooks get a delivery of an event: the statement that stores it agrees with the plain rule."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from dispatcher import Event, enqueue_many
from dispatcher.settings import Settings
from tests.factories import make_account, make_webhook, rows

# Few words, so that they meet; case, and characters that mean something in SQL, are told apart.
_PARTS = st.lists(st.sampled_from(["a", "A", "b", "a_", "_", "a-b"]), min_size=1, max_size=4)
_TYPES = _PARTS.map(".".join)
_APPS = st.none() | st.sampled_from(["shop", "Shop", "%", "_", "sho", "NULL", '"', "\\"])
_WEBHOOKS = st.lists(st.tuples(st.lists(_TYPES | st.just("*"), min_size=1, max_size=3, unique=True), _APPS), max_size=4)


def takes(types: list[str], app: str | None, event: tuple[str, str | None]) -> bool:
    name, of_app = event
    return app in {None, of_app} and any(one in {"*", name} or name.startswith(f"{one}.") for one in types)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(webhooks=_WEBHOOKS, events=st.lists(st.tuples(_TYPES, _APPS), min_size=1, max_size=4))
def test_an_event_has_deliveries_to_the_webhooks_that_take_it_and_to_no_other(
    database: Engine,
    settings: Settings,
    webhooks: list[tuple[list[str], str | None]],
    events: list[tuple[str, str | None]],
) -> None:
    with database.begin() as connection:
        connection.execute(text("TRUNCATE dispatcher.accounts, dispatcher.events, dispatcher.deliveries CASCADE"))
    make_account(database)
    make_webhook(database, settings, url="http://a.test/", account="another")
    names = {
        make_webhook(database, settings, url="http://a.test/", event_types=types, app=app).id: (types, app)
        for types, app in webhooks
    }
    receipts = list(enqueue_many(Event(type=name, data=None, account="acme", app=app) for name, app in events))
    deliveries = rows(database, "SELECT event_id, webhook_id FROM dispatcher.deliveries")
    assert {(row.event_id, row.webhook_id) for row in deliveries} == {
        (receipt.event_id, identifier)  # type: ignore[union-attr]
        for receipt, event in zip(receipts, events, strict=True)
        for identifier, (types, app) in names.items()
        if takes(types, app, event)
    }
    assert len(deliveries) == sum(receipt.deliveries for receipt in receipts)  # type: ignore[union-attr]
