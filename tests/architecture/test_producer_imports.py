"""What a producer gets with `import dispatcher`, and what it does not."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import grimp
import pytest
from packaging.utils import canonicalize_name

import dispatcher
from tests.distributions import brought_by

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("dispatcher", "workers", "schedules", cache_dir=None, include_external_packages=True)


def ours(graph: grimp.ImportGraph) -> set[str]:
    return {name for name in graph.modules if name.partition(".")[0] in {"dispatcher", "workers", "schedules"}}


def client_modules(graph: grimp.ImportGraph) -> set[str]:
    return {"dispatcher.client", *graph.find_descendants("dispatcher.client")}


def producers_modules(graph: grimp.ImportGraph) -> set[str]:
    """All that `import dispatcher` can come to, imports within functions and packages above included; the client; what
    receivers and tests use; and `python -m dispatcher`, for what it says."""
    others = {one for one in ours(graph) if one.startswith(("dispatcher.testing.", "dispatcher.verify."))}
    begun = {"dispatcher", *client_modules(graph), *others}
    reached = {"dispatcher.__main__", *begun}.union(*map(graph.find_upstream_modules, begun)) & ours(graph)
    return reached | {".".join(name.split(".")[:end]) for name in reached for end in range(1, name.count(".") + 1)}


def file_of(module: str) -> str:
    path = Path(*module.split("."))
    return str(path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py"))


def not_brought(graph: grimp.ImportGraph, modules: Iterable[str], requirements: Iterable[str]) -> set[str]:
    """Which packages of others these modules import that no such requirement brings."""
    imported = {name for module in modules for name in graph.find_modules_directly_imported_by(module)}
    theirs = {name.partition(".")[0] for name in imported - ours(graph)} - sys.stdlib_module_names
    brought, owners = brought_by(requirements), packages_distributions()
    return {name for name in theirs if not {canonicalize_name(owner) for owner in owners[name]} & brought.keys()}


def test_the_producers_wheel_holds_what_enqueue_the_client_receivers_and_tests_import_and_nothing_else(
    graph: grimp.ImportGraph,
) -> None:
    listed = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert listed == sorted({file_of(module) for module in producers_modules(graph)} | {"dispatcher/py.typed"})


FRAMEWORKS = {"django", "flask", "fastapi"}  # of receivers, each in a module of its own: who has it imports that


def test_each_distribution_declares_what_it_imports(graph: grimp.ImportGraph) -> None:
    base, groups = PYPROJECT["project"]["dependencies"], PYPROJECT["dependency-groups"]
    client = PYPROJECT["project"]["optional-dependencies"]["client"]
    producers = producers_modules(graph) - {"dispatcher.__main__"}
    # Without cryptography, a receiver is told what an ed25519 key needs; whose test asks for a fixture has pytest.
    asked_for = FRAMEWORKS | {"cryptography", "pytest"}
    assert not_brought(graph, producers - client_modules(graph), base) == asked_for
    assert not_brought(graph, client_modules(graph), client) == set()
    engine, others = [*base, *groups["server"]], {"django", "flask", "pytest"}
    assert not_brought(graph, ours(graph), [*engine, *groups["fast"], *groups["embedded"], *client]) == others
    assert not_brought(graph, ours(graph), engine) == {"aiosmtpd", "httpx", "pycurl", *others}


def run_python(code: str, cwd: Path) -> str:
    """Runs a script as a producer's program would: in its own folder, which comes first on the path."""
    script = cwd / "producer.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The modules that a producer has."""
    code = "import json, sys; from dispatcher import enqueue; print(json.dumps(sorted(sys.modules)))"
    names: list[str] = json.loads(run_python(code, tmp_path_factory.mktemp("producer")))
    return names


def test_a_producer_loads_no_workers_no_web_edge_and_no_server_packages(loaded: list[str]) -> None:
    top = {name.partition(".")[0] for name in loaded}
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


def test_a_producer_loads_few_modules_of_ours(loaded: list[str]) -> None:
    """Each costs every backend its start; a new one here is a decision."""
    of_ours = {name for name in loaded if name.partition(".")[0] == "dispatcher"}
    assert of_ours == {
        "dispatcher",
        "dispatcher.broker",
        "dispatcher.broker.address",
        "dispatcher.broker.celery_settings",
        "dispatcher.broker.clients",
        "dispatcher.broker.presence",
        "dispatcher.db",
        "dispatcher.db.arrays",
        "dispatcher.db.clock",
        "dispatcher.db.engines",
        "dispatcher.db.error_texts",
        "dispatcher.db.odd_values",
        "dispatcher.db.outages",
        "dispatcher.db.poolers",
        "dispatcher.db.prepared",
        "dispatcher.db.silence",
        "dispatcher.db.urls",
        "dispatcher.egress",
        "dispatcher.egress.address_policy",
        "dispatcher.egress.special_addresses",
        "dispatcher.errors",
        "dispatcher.event_types",
        "dispatcher.events",
        "dispatcher.events.enqueue",
        "dispatcher.events.event",
        "dispatcher.events.groups",
        "dispatcher.events.nearest",
        "dispatcher.events.no_json",
        "dispatcher.events.storing",
        "dispatcher.events.thread_groups",
        "dispatcher.events.waiting_room",
        "dispatcher.ids",
        "dispatcher.producer",
        "dispatcher.masking",
        "dispatcher.masking.refusals",
        "dispatcher.settings",
        "dispatcher.settings.checked",
        "dispatcher.settings.connection_file",
        "dispatcher.settings.fields",
        "dispatcher.settings.files",
        "dispatcher.settings.hosts",
        "dispatcher.settings.keys",
        "dispatcher.settings.names",
        "dispatcher.settings.placeholders",
        "dispatcher.settings.quotas",
        "dispatcher.settings.reading",
        "dispatcher.settings.secret_files",
        "dispatcher.settings.urls",
        "dispatcher.settings.wording",
        "dispatcher.version",
        "dispatcher.wake",
    }


CLIENT = """
import json, sys
for missing in "http.client", "httpx":
    sys.modules[missing] = None
    try:
        import dispatcher.client
    except ImportError as error:
        print(error)
    del sys.modules[missing]
import dispatcher.client
print(json.dumps(sorted(sys.modules)))
"""


def test_the_client_loads_nothing_of_the_engine_and_says_which_extra_it_needs(tmp_path: Path) -> None:
    of_another, said, loaded = run_python(CLIENT, tmp_path).splitlines()
    assert "http.client" in of_another
    assert "install" not in of_another
    assert said == "httpx is not installed: install dispatcher-producer with its extra `client`"
    names = json.loads(loaded)
    of_ours = {name for name in names if name.startswith("dispatcher.") and not name.startswith("dispatcher.client")}
    assert of_ours == {"dispatcher.errors", "dispatcher.version"}
    assert {name.partition(".")[0] for name in names} & {"sqlalchemy", "celery", "pydantic", "redis"} == set()


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
    assert PYPROJECT["project"]["version"] == dispatcher.__version__


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'enqeue'"):
        _ = dispatcher.enqeue  # type: ignore[attr-defined]


def test_what_is_exported_is_listed_before_it_is_used(tmp_path: Path) -> None:
    listed = json.loads(run_python("import dispatcher, json; print(json.dumps(dir(dispatcher)))", tmp_path))
    assert set(dispatcher.__all__) <= set(listed)


def test_what_is_not_used_is_not_loaded(tmp_path: Path) -> None:
    """The command line begins with this package: its help must not wait for the database's driver."""
    loaded = run_python("import json, sys, dispatcher.cli; print(json.dumps(sorted(sys.modules)))", tmp_path)
    assert {name.partition(".")[0] for name in json.loads(loaded)} & {"sqlalchemy", "celery", "pydantic"} == set()
