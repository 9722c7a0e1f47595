"""What a producer gets with `import dispatcher`, and what it does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import dispatcher


def run_python(code: str, cwd: Path) -> str:
    """Runs a script as a producer's program would: in its own folder, which comes first on the path."""
    script = cwd / "producer.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_producer_loads_no_workers_no_web_edge_and_no_server_packages(tmp_path: Path) -> None:
    loaded = run_python("import dispatcher, json, sys; print(json.dumps(sorted(sys.modules)))", tmp_path)
    top = {name.partition(".")[0] for name in json.loads(loaded)}
    assert "dispatcher" in top
    unwanted = {
        "workers",
        "schedules",
        "cryptography",
        "fastapi",
        "uvicorn",
        "alembic",
        "typer",
        "rich",
        "requests",
        "jinja2",
        "structlog",
    }
    assert top & unwanted == set()


def test_a_producer_loads_few_modules_of_ours(tmp_path: Path) -> None:
    """Each costs every backend its start; a new one here is a decision."""
    loaded = run_python("import dispatcher, json, sys; print(json.dumps(sorted(sys.modules)))", tmp_path)
    ours = {name for name in json.loads(loaded) if name.partition(".")[0] == "dispatcher"}
    assert ours == {
        "dispatcher",
        "dispatcher.db",
        "dispatcher.deliveries",
        "dispatcher.deliveries.opening",
        "dispatcher.states",
        "dispatcher.db.arrays",
        "dispatcher.db.engines",
        "dispatcher.db.error_texts",
        "dispatcher.db.prepared",
        "dispatcher.egress",
        "dispatcher.egress.address_policy",
        "dispatcher.egress.special_addresses",
        "dispatcher.errors",
        "dispatcher.event_types",
        "dispatcher.events",
        "dispatcher.events.enqueue",
        "dispatcher.events.event",
        "dispatcher.ids",
        "dispatcher.producer",
        "dispatcher.settings",
        "dispatcher.version",
        "dispatcher.wake",
    }


@pytest.mark.usefixtures("environment")
def test_a_producer_can_have_a_workers_package_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").write_text("MINE = True\n")
    said = run_python(
        "import dispatcher, workers\n"
        "try:\n"
        "    dispatcher.enqueue('a', {}, account='nobody')\n"
        "except dispatcher.UnknownAccount as error:\n"
        "    print(workers.MINE, error)\n",
        tmp_path,
    )
    assert said.strip() == "True there is no account 'nobody'"


def test_what_is_exported_is_what_is_named() -> None:
    assert sorted(dispatcher.__all__) == dispatcher.__all__
    assert all(hasattr(dispatcher, name) for name in dispatcher.__all__)


def test_the_version_is_one() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'\nversion = "{dispatcher.__version__}"\n' in project
