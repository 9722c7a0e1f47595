"""Rules of the house that no linter knows."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = [path for folder in ("dispatcher", "workers", "schedules") for path in (ROOT / folder).rglob("*.py")]

TOP_LEVEL = {
    "pyproject.toml", "README.md", "dispatcher", "workers", "schedules", "tests", "deploy",
    "run.sh", "uv.lock", "requirements.lock", "docs", "benchmarks", "examples", "LICENSE",
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


def test_the_environment_is_read_in_the_settings_only() -> None:
    # Handing all of it on to a child (`**os.environ`) is not reading it.
    reading = re.compile(r"(?<!\*\*)os\.(environ|getenv)")
    assert {str(path.relative_to(ROOT)) for path in OURS if reading.search(path.read_text())} == {
        "dispatcher/settings.py"
    }


def test_modules_stay_small() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in OURS}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
