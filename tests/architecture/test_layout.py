"""Rules of the house that no linter knows."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = [path for folder in ("dispatcher", "workers", "schedules") for path in (ROOT / folder).rglob("*.py")]

TOP_LEVEL = {
    "pyproject.toml", "README.md", "dispatcher", "workers", "schedules", "tests", "deploy",
    "run.sh", "uv.lock", "requirements.lock", "docs", "benchmarks", "examples", "LICENSE", "CHANGELOG.md",
}  # fmt: skip


def test_the_top_level_is_fixed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    top = {name.partition("/")[0] for name in listed if name}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


def test_no_module_is_called_after_nothing() -> None:
    vague = {"utils", "helpers", "common", "base", "manager", "misc", "tools"}
    assert [path for path in OURS if path.stem in vague] == []


def test_every_module_says_first_what_it_is_for() -> None:
    silent = [path for path in OURS if path.read_text().strip() and not path.read_text().startswith('"""')]
    assert silent == []


def names_used(tree: ast.AST) -> Iterator[str]:
    """Every name, member and imported name; `**os.environ`, which hands all of it on to a child unread, is left out."""
    handed_on = {
        id(value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if key is None
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name):
                yield name
            case ast.Attribute(attr=name) if id(node) not in handed_on:
                yield name
            case ast.ImportFrom(module=module, names=names):
                yield from (f"{module}.{one.name}" for one in names)
                yield from (one.name for one in names)


def trees(*words: str) -> Iterator[tuple[Path, ast.Module]]:
    """The syntax of each module with one of these words: to parse them all takes a second."""
    for path in OURS:
        text = path.read_text()
        if any(word in text for word in words):
            yield path, ast.parse(text)


@cache
def names_by_module() -> dict[str, set[str]]:
    return {str(path.relative_to(ROOT)): set(names_used(ast.parse(path.read_text()))) for path in OURS}


def users_of(*names: str) -> set[str]:
    """The modules whose syntax names one of these."""
    return {module for module, used in names_by_module().items() if used & set(names)}


def test_the_environment_is_read_in_the_settings_only() -> None:
    """Except for where a worker's children find the memory that they share with it."""
    assert users_of("environ", "getenv", "environb") == {
        "dispatcher/metrics/progress.py",  # where systemd listens
        "dispatcher/settings/connection_file.py",
        "dispatcher/settings/secret_files.py",
        "workers/shared_memory.py",
    }


def test_only_who_begins_reads_the_settings() -> None:
    """All others are given them, or what is made of them. `up` asks what servers it is given before it has any, and the
    logs say what is wrong with the settings."""
    assert users_of("read_settings") == {
        "dispatcher/asgi.py",
        "dispatcher/cli/app.py",
        "dispatcher/producer.py",
        "dispatcher/settings/__init__.py",  # hands it on
        "dispatcher/web/__main__.py",
        "workers/__main__.py",
        "workers/celery.py",
        "workers/trials.py",
    }
    assert users_of("BaseSettings") == {
        "dispatcher/settings/checked.py",
        "dispatcher/settings/fields.py",
        "dispatcher/logs/settings.py",
    }


def test_only_enqueue_asks_for_the_default_producer() -> None:
    assert users_of("default_producer") == {
        "dispatcher/events/aenqueue.py",
        "dispatcher/events/enqueue.py",
        "dispatcher/producer.py",  # configures it
    }


def test_whoever_has_an_installation_enqueues_for_it() -> None:
    """None of ours leaves it to the process's settings where an event goes."""
    left_out = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in trees("enqueue")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"enqueue", "enqueue_many"}
        and "producer" not in {keyword.arg for keyword in node.keywords}
    }
    assert left_out == set()


def test_nothing_but_the_default_producer_is_kept_for_the_whole_process() -> None:
    """Of what is made of settings or connects to something: the others are computed of their arguments alone."""
    cached = {
        f"{path.relative_to(ROOT)}: {node.name}"
        for path, tree in trees("cache")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and {"cache", "lru_cache"} & {name for decorator in node.decorator_list for name in names_used(decorator)}
    }
    assert cached == {
        "dispatcher/producer.py: default_producer",
        "dispatcher/masking/forms.py: _decoded_token",
        "dispatcher/masking/messages.py: _named",
        "dispatcher/transport/checks.py: _check_names",
        "dispatcher/transport/checks.py: split_url",
        "dispatcher/transport/curl/handles.py: _unwanted",
        "workers/notices/templating.py: environment",  # of its templates
        "dispatcher/api/pages/templating.py: templates",
        "dispatcher/console/rendering.py: _environment",  # of its templates
        "dispatcher/console/pages/receiving.py: _samples",
        "dispatcher/console/static_files.py: _by_name",
        "dispatcher/console/static_files.py: static_files",
        "dispatcher/console/cookies.py: zone_named",
        "workers/callbacks/render.py: _forms",
        "workers/shared_memory.py: pipe",  # the process's own
        "workers/shared_memory.py: told",
    }


def test_a_scale_is_a_number_for_sql_alone() -> None:
    """Whoever shortens time is given `Timing`, or what is shortened already."""
    assert users_of("time_scale") == {
        "dispatcher/diagnosis/checks/choices.py",  # warns of it
        "dispatcher/settings/fields.py",
        "dispatcher/events/storing.py",  # SQL
        "dispatcher/installation.py",  # makes the Timing
        "workers/app.py",  # of beat, too
    }
    assert users_of("scale") == {
        "schedules/timing.py",
        "dispatcher/deliveries/opening.py",  # SQL
        "dispatcher/events/storing.py",  # SQL
    }


def test_modules_stay_small() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in OURS}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
