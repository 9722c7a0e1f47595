"""A node whose broker takes all and answers nothing can be stopped, and one whose broker is away comes back soon."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery.worker.consumer import heart as celery_heart
from kombu import Connection
from redis.exceptions import ReadOnlyError

from dispatcher.broker.celery_settings import celery_settings
from dispatcher.settings import Settings
from tests.dead_ports import refusing_port
from tests.relay import Relay
from workers.broker_transport import FAREWELL_SECONDS, Transport
from workers.consumer import Consumer, Heart


def connected(settings: Settings, port: int | None = None) -> Connection:
    url = urlsplit(settings.broker_url.get_secret_value())
    given = celery_settings(url._replace(netloc=url.netloc.replace(f":{url.port}", f":{port or url.port}")).geturl())
    made = Connection(given["broker_url"], transport_options=given["broker_transport_options"])
    made.transport_cls = Transport
    return made


def heartbeats(send: Callable[..., None]) -> tuple[Any, list[Callable[[], None]]]:
    """A started step, and what its timer calls."""
    called: list[Callable[[], None]] = []

    def call_repeatedly(_seconds: float, function: Callable[..., None], arguments: tuple[str]) -> None:
        called.append(lambda: function(*arguments))

    connection = Connection("redis://")
    connection.transport_cls = Transport
    dispatcher = SimpleNamespace(enabled=True, send=send, on_enabled=set(), on_disabled=set(), connection=connection)
    consumer = SimpleNamespace(
        timer=SimpleNamespace(call_repeatedly=call_repeatedly, cancel=lambda _: None), event_dispatcher=dispatcher
    )
    Heart(consumer).start(consumer)
    assert not dispatcher.buffer_while_offline
    return consumer.heart, called


def test_an_event_is_sent_once_and_never_tried_until_the_broker_takes_it() -> None:
    tried: list[tuple[str, bool]] = []
    heart, called = heartbeats(lambda event, *, retry, **_: tried.append((event, retry)))
    called[0]()
    heart.stop()
    assert tried == [("worker-online", False), ("worker-heartbeat", False), ("worker-offline", False)]
    steps = Consumer.Blueprint().claim_steps()
    assert [name for name, one in steps.items() if issubclass(one, celery_heart.Heart)] == [Heart.name]


def test_an_event_that_the_broker_does_not_take_is_a_lost_connection_unless_the_node_stops() -> None:
    def send(event: str, **_: Any) -> None:
        if event != "worker-online":
            raise ReadOnlyError

    heart, called = heartbeats(send)
    with pytest.raises(ReadOnlyError):
        called[0]()
    heart.stop()


@pytest.mark.parametrize("name", ["connection", "events"])
def test_a_node_that_stops_waits_a_second_for_each_answer(settings: Settings, name: str) -> None:
    ended: list[Consumer] = []
    consumer = Consumer.__new__(Consumer)
    consumer.blueprint = SimpleNamespace(stop=ended.append)
    with connected(settings) as connection:
        channel = connection.default_channel
        waiting = channel.subclient
        waiting.subscribe("x")
        consumer.connection = connection if name == "connection" else None
        consumer.event_dispatcher = SimpleNamespace(connection=connection) if name == "events" else None
        consumer.stop()
        bounds = [waiting.connection._sock.gettimeout()]
        for client in (channel.client, channel._create_client()):
            used = client.connection_pool.get_connection()
            used.connect()
            bounds.append(used._sock.gettimeout())
        assert bounds == [FAREWELL_SECONDS] * 3
    assert ended == [consumer]


def test_a_channel_that_cannot_be_opened_is_a_lost_connection(settings: Settings) -> None:
    """Kombu raises an error of its own there, which would end the node."""
    port = urlsplit(settings.broker_url.get_secret_value()).port
    assert port is not None
    with Relay(port) as relay, connected(settings, relay.port) as connection:
        relay.cut()
        connection.connect_timeout = 0.1
        with pytest.raises(connection.connection_errors):
            _ = connection.default_channel


def test_while_the_broker_is_away_a_node_tries_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docs promise that it works again six seconds after the broker does, at most."""
    waits: list[float] = []

    class Away(Connection):
        def ensure_connection(self, errback: Any = None, **given: Any) -> Any:
            def tell(error: Exception, seconds: float) -> None:
                waits.append(seconds)
                if len(waits) == 5:
                    raise KeyboardInterrupt
                errback(error, seconds)

            return super().ensure_connection(tell, **given)

    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _: None)
    with Away(f"redis://127.0.0.1:{refusing_port()}/0") as connection:
        consumer = Consumer.__new__(Consumer)
        with pytest.raises(KeyboardInterrupt):
            consumer.ensure_connected(connection)
    assert waits == [1, 2, 2, 2, 2]
