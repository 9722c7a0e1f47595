"""A backup that is restored: what is sent again, and what is gone."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from dispatcher import enqueue
from dispatcher.db.migrate import upgrade
from dispatcher.embedded.servers.postgres_runtime import _bundled
from dispatcher.settings import Settings
from tests.conftest import ENCRYPTION_KEY, Servers
from tests.factories import attempts, change, deliver_all, deliveries, make_webhook, rows, sweep_once
from tests.installations import installation_for
from tests.receiver import Receiver
from tests.stepped_loop import SteppedLoop

TEXT = {"body": "Yes"}


class Backup:
    """A dump of the suite's database, and an empty database that it can be restored to. Both by PostgreSQL's own
    programs."""

    def __init__(self, source: str, target: str, file: Path) -> None:
        self.target, self._source, self._file = target, source, file

    def dump(self) -> None:
        self._run("pg_dump", self._source, "--format=custom", "--schema=dispatcher", f"--file={self._file}")

    def restore(self) -> None:
        self._run("pg_restore", self.target, "--exit-on-error", "--no-owner", str(self._file))

    @staticmethod
    def _run(program: str, url: str, *words: str) -> None:
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        _, newest = max(_bundled().items())
        subprocess.run([newest.program(program), "--dbname", plain, *words], check=True, timeout=60)


@pytest.fixture
def backup(servers: Servers, tmp_path: Path) -> Iterator[Backup]:
    first = make_url(servers.database_url)
    engine = create_engine(first, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE restored"))
        target = first.set(database="restored").render_as_string(hide_password=False)
        yield Backup(servers.database_url, target, tmp_path / "dump")
        connection.execute(text("DROP DATABASE restored WITH (FORCE)"))
    engine.dispose()


def test_a_restored_installation_sends_again_what_was_open_at_the_time_of_the_dump_and_knows_nothing_later(
    database: Engine, settings: Settings, servers: Servers, receiver: Receiver, backup: Backup
) -> None:
    make_webhook(database, settings, url=receiver.url("/hook"))

    def send(name: str, to: Settings = settings) -> tuple[str, bool]:
        accepted = enqueue(name, TEXT, account="acme", idempotency_key=name, producer=installation_for(to))
        return str(accepted.event_id), accepted.repeated

    delivered, _ = send("a.delivered")
    deliver_all(settings)
    send("b.claimed")
    old = SteppedLoop(settings)
    old.loop._claim()
    ((claimed, number),) = old.send()  # its answer never comes
    send("c.due")
    backup.dump()
    later, _ = send("d.later")
    deliver_all(settings)
    assert types(receiver) == ["a.delivered", "c.due", "d.later"]

    backup.restore()
    upgrade(backup.target)
    restored = Settings(
        database_url=backup.target,  # type: ignore[arg-type]
        broker_url=servers.broker_url.removesuffix("/0") + "/2",  # type: ignore[arg-type]
        encryption_keys=ENCRYPTION_KEY,  # type: ignore[arg-type]
        allowed_networks=settings.allowed_networks,
        ca_bundle=settings.ca_bundle,
    )
    there = installation_for(restored).engine

    assert deliver_all(restored)["delivered"] == 1
    assert types(receiver)[3:] == ["c.due"], "the second time; what had been delivered does not come again"

    change(there, "UPDATE dispatcher.deliveries SET claimed_until = now() WHERE state = 'claimed'")  # 2 minutes later
    assert sweep_once(restored) == {"promoted": 0, "freed": 1}
    deliver_all(restored)
    assert types(receiver)[4:] == ["b.claimed"]
    assert [(a.number, a.outcome_unknown) for a in attempts(there) if str(a.delivery_id) == claimed] == [
        (number, True),
        (number + 1, False),
    ]
    assert {row.state for row in deliveries(there)} == {"delivered"}

    assert rows(there, "SELECT 1 FROM dispatcher.events WHERE id = :id", id=later) == []
    assert send("a.delivered", restored) == (delivered, True), "its key was in the dump"
    again, repeated = send("d.later", restored)
    assert (again != later, repeated) == (True, False), "its key is gone with it: it is a new event"
    deliver_all(restored)
    assert types(receiver)[5:] == ["d.later"]


def types(receiver: Receiver) -> list[str | None]:
    return [request.header("dispatcher-event-type") for request in receiver.received]
