"""The wheels of `./run.sh build`, installed: a producer beside packages of a backend, and an engine."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import Engine, create_engine, make_url, text

from dispatcher.settings import Settings, read_settings
from tests.distributions import (
    ROOT,
    build,
    copy_of_checkout,
    files_of,
    link_packages,
    make_environment,
    metadata_of,
    site_packages,
)
from tests.factories import deliveries, make_webhook, rows
from tests.installations import installation_for
from tests.integration.docs.blocks import blocks_of
from tests.process_table import eventually
from tests.receiver import Receiver

pytestmark = pytest.mark.node

IGNORED = ("dispatcher/.mypy_cache/stray.json", "workers/dist/stray.py", "schedules/.venv.lock")

ENQUEUE = """
import dispatcher, sys
from dispatcher import enqueue
loaded = len(sys.modules), len([name for name in sys.modules if name.partition(".")[0] == "dispatcher"])
accepted = enqueue("message.sent", {"id": "7"}, account="acme", subject="7")
print(dispatcher.__file__, accepted.event_id, accepted.deliveries, *loaded)
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The producers' wheel and the engine's, built where files are left that git ignores."""
    checkout = copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    for ignored in IGNORED:
        (checkout / ignored).parent.mkdir(exist_ok=True)
        (checkout / ignored).write_text("left behind")
    producer, engine = build(checkout, tmp_path_factory.mktemp("wheels"))
    return producer, engine


@pytest.fixture(scope="module")
def producers(wheels: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment like a backend's: it has its own packages `workers` and `schedules`."""
    folder = tmp_path_factory.mktemp("environments") / "producer"
    make_environment(folder, wheels[0])
    for name in ("workers", "schedules"):
        package = site_packages(folder) / name
        package.mkdir()
        (package / "__init__.py").write_text(f"WHOSE = 'the {name} of the backend'\n")
    return folder


def run(*words: Path | str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_file_of_the_product_is_in_one_of_the_two_and_in_no_other(wheels: tuple[Path, Path]) -> None:
    producer, engine = map(files_of, wheels)
    everything = {
        str(path.relative_to(ROOT))
        for folder in ("dispatcher", "workers", "schedules")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert producer & engine == set()
    assert producer | engine == everything


def test_what_git_ignores_is_in_neither(wheels: tuple[Path, Path]) -> None:
    ran = subprocess.run(["git", "check-ignore", *IGNORED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == list(IGNORED)
    assert [files_of(wheel) & set(IGNORED) for wheel in wheels] == [set(), set()]


def test_the_engine_asks_for_the_producer_of_its_own_version(wheels: tuple[Path, Path]) -> None:
    producer, engine = map(metadata_of, wheels)
    assert f"{producer.name}=={producer.version}" in (engine.requires or ())
    assert engine.version == producer.version
    assert {name: engine.metadata.get_all(name) for name in ("Provides-Extra", "License-File")} == {
        "Provides-Extra": ["embedded", "fast"],
        "License-File": ["LICENSE"],
    }
    assert producer.metadata.get_all("Provides-Extra") == ["client"]
    assert [script.name for script in engine.entry_points] == ["dispatcher"]
    assert [(one.group, one.value) for one in producer.entry_points] == [("pytest11", "dispatcher.testing.plugin")]


def test_a_producer_enqueues_beside_a_strangers_workers(
    producers: Path, database: Engine, settings: Settings, broker: "redis.Redis", tmp_path: Path
) -> None:
    make_webhook(database, settings, url="https://example.com/hook")
    script = f"import workers, schedules\nprint(workers.WHOSE, schedules.WHOSE, sep='\\n')\n{ENQUEUE}"

    ran = run(producers / "bin/python", "-c", script, cwd=tmp_path)

    assert (ran.returncode, ran.stderr) == (0, "")
    theirs, theirs_too, ours = ran.stdout.splitlines()
    assert (theirs, theirs_too) == ("the workers of the backend", "the schedules of the backend")
    place, event_id, count, loaded, of_ours = ours.split()
    assert (Path(place).parent, count) == (site_packages(producers) / "dispatcher", "1")
    (event,) = rows(database, "SELECT id, type, data FROM dispatcher.events")
    assert (event.id, event.type, bytes(event.data)) == (UUID(event_id), "message.sent", b'{"id":"7"}')
    assert [delivery.event_id for delivery in deliveries(database)] == [event.id]
    assert broker.llen("deliver") == 1, "the wake"
    said = re.search(r"modules \| (\d+), (\d+) of them ours \|", (ROOT / "docs/enqueue.md").read_text())
    assert said
    assert of_ours == said[2]
    assert int(loaded) == pytest.approx(int(said[1]), rel=0.1)  # other versions of Python load a few more or less


def test_pytest_finds_the_fixtures_where_a_producer_is_installed(
    producers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "\n\n".join(block.code for block in blocks_of("docs/testing.md") if block.language == "python")
    (tmp_path / "test_page.py").write_text(code)
    for name in ("links", "empty"):
        (tmp_path / name).mkdir()
    link_packages(tmp_path / "links", ["pytest"])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "links"))
    monkeypatch.setenv("DISPATCHER_DATA_DIR", str(tmp_path / "empty"))

    ran = run(producers / "bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py", cwd=tmp_path)

    assert (ran.returncode, "9 passed" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_the_command_line_says_that_it_is_not_among_what_producers_install(producers: Path, tmp_path: Path) -> None:
    ran = run(producers / "bin/python", "-m", "dispatcher", "account", "list", cwd=tmp_path)

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        "Error: the command line belongs to dispatcher-engine, and only dispatcher-producer is installed here\n"
    )


@pytest.fixture
def empty_database(settings: Settings) -> Iterator[str]:
    """The URL of a database without any tables."""
    url = make_url(settings.database_url.get_secret_value())
    name = f"installed_{uuid4().hex}"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield url.set(database=name).render_as_string(hide_password=False)
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def installed_engine(
    wheels: tuple[Path, Path], settings: Settings, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The programs of an engine's environment. Programs that are started from now on have a database without tables."""
    monkeypatch.setenv("DATABASE_URL", empty_database)
    monkeypatch.setenv("BROKER_URL", settings.broker_url.get_secret_value().removesuffix("/0") + "/2")
    make_environment(tmp_path / "engine", *wheels)
    return tmp_path / "engine/bin"


@contextmanager
def delivery_node(programs: Path, log: Path) -> Iterator[None]:
    """Runs a node until the block ends, and then stops it as an operator would."""
    words = ("-P", "-m", "celery", "-A", "workers", "worker", "-Q", "deliver", "-n", "deliver@%h", "-c", "1")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(programs / "python"), *words], cwd=log.parent, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield
            process.terminate()
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()
            process.wait(20)


def test_an_engine_migrates_takes_an_event_and_delivers_it(
    installed_engine: Path, receiver: Receiver, tmp_path: Path
) -> None:
    migrated = run(installed_engine / "dispatcher", "migrate", cwd=tmp_path)
    assert migrated.returncode == 0, migrated.stderr
    said = [json.loads(line) for line in migrated.stderr.splitlines()]
    assert (said[-1]["event"], {line["level"] for line in said}) == ("done", {"info"})
    settings = read_settings()
    database = installation_for(settings).engine
    make_webhook(database, settings, url=receiver.url("/hook"))

    enqueued = run(installed_engine / "python", "-c", ENQUEUE, cwd=tmp_path)
    assert (enqueued.returncode, enqueued.stderr) == (0, "")
    assert enqueued.stdout.startswith(str(tmp_path / "engine"))
    log = tmp_path / "worker.log"
    with delivery_node(installed_engine, log):
        assert eventually(lambda: [row.state for row in deliveries(database)] == ["delivered"]), log.read_text()

    (request,) = receiver.at("/hook")
    assert json.loads(request.body) == [{"id": "7"}]
