"""run.sh: its messages when a machine lacks something, and when it sets up. .ci/run tests the set-up itself."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.process_table import eventually

ROOT = Path(__file__).parents[2]
# What every Debian and macOS has. Deliberately without any Python, and without uv.
TOOLS = (
    "cat", "chmod", "cksum", "date", "dirname", "env", "grep", "ls", "mkdir", "mktemp", "readlink", "rm", "sed",
    "sh", "sleep", "tail", "touch",
)  # fmt: skip

OLD = "#!/bin/sh\nexit 1\n"
# A Python that is new enough and can lock. Its `-m venv` makes a fake environment.
NEW = f"""#!/bin/sh
case "$*" in
*version_info*) exit 0 ;;
*ensurepip*) exit 0 ;;
*fcntl*) exec {sys.executable} "$@" ;;
--version) echo "Python 3.12.0" ;;
"-m venv "*)
    ls -A "$3" >"$3/../found"
    mkdir -p "$3/bin" "$3/site"
    echo made >>"$3/../made"
    sleep 0.5
    echo '#!/bin/sh
case "$*" in
*sysconfig*) echo "${{0%/bin/python}}/site" ;;
*"-m pip"*) echo "$*" >>"${{0%/bin/python}}/../installed" ;;
*"-m dispatcher"*) echo "cli: $*" ;;
*build_wheels.py*) echo "build: $*" ;;
esac' >"$3/bin/python"
    chmod +x "$3/bin/python" ;;
esac
"""
WITHOUT_VENV = NEW.replace("*ensurepip*) exit 0 ;;", "*ensurepip*) exit 1 ;;")
# Makes an environment with the fake Python; its last argument says where.
UV = """#!/bin/sh
echo "$*" >>installed
[ "$1" = sync ] || for folder; do :; done
[ "$1" = sync ] || exec python3 -m venv "$folder"
"""
MARK = "made-by-run.sh"

with_and_without_uv = pytest.mark.parametrize("uv", [True, False], ids=["uv", "pip"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "a checkout"
    folder.mkdir()
    shutil.copy(ROOT / "run.sh", folder)
    for name in (
        *("requirements.lock", "deploy/embedded.lock", "uv.lock", "pyproject.toml"),
        "tests/dialects/sinch/client-1.1.4.lock",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("one==1\ntwo==2\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    return folder


def provide(checkout: Path, name: str, script: str) -> None:
    path = checkout.parent / "bin" / name
    path.unlink(missing_ok=True)  # it may be a link to the machine's own tool: writing would go through it
    path.write_text(script)
    path.chmod(0o755)


def provide_tools(checkout: Path, *, uv: bool) -> None:
    provide(checkout, "python3", NEW)
    if uv:
        provide(checkout, "uv", UV)


def start(
    checkout: Path,
    *words: str,
    script: Path | None = None,
    stderr: int = subprocess.PIPE,
    start_new_session: bool = False,
    **more: str,
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["/bin/sh", script or checkout / "run.sh", *words],
        env={"PATH": str(checkout.parent / "bin"), "HOME": str(checkout.parent), **more},
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=start_new_session,
        text=True,
        cwd="/",
    )


def run(checkout: Path, *words: str, script: Path | None = None, **more: str) -> tuple[int, str, str]:
    with start(checkout, *words, script=script, **more) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def called(script: Path, *words: str) -> str:
    """What the fake Python says when it is called for the command line."""
    return f"cli: {' '.join(('-P -m dispatcher.cli.run_sh', str(script), *words))}\n"


def lines(checkout: Path, name: str) -> list[str]:
    path = checkout / name
    return path.read_text().splitlines() if path.exists() else []


def test_without_a_new_enough_python_it_says_so_in_one_sentence(checkout: Path) -> None:
    for name in ("python3", "python3.11"):
        provide(checkout, name, OLD)

    assert run(checkout, "up") == (1, "", "run.sh: Python 3.11 or newer is needed and was not found on PATH\n")


def test_without_the_venv_module_it_names_the_command_that_installs_it(checkout: Path) -> None:
    provide(checkout, "python3", WITHOUT_VENV)

    status, _, err = run(checkout, "up")

    assert status == 1
    assert err == (
        "run.sh: python3 cannot create environments: apt-get install python3-venv (as root), then try again\n"
    )


def test_a_python_that_cannot_make_environments_is_passed_over_for_one_that_can(checkout: Path) -> None:
    provide(checkout, "python3.13", WITHOUT_VENV)
    provide(checkout, "python3.12", OLD)
    provide(checkout, "python3", NEW)

    assert run(checkout, "webhook", "list")[:2] == (0, called(checkout / "run.sh", "webhook list"))


def test_the_environment_is_made_once_and_again_only_when_a_lock_changes(checkout: Path) -> None:
    provide(checkout, "python3", NEW)

    first, second = run(checkout, "x y"), run(checkout, "x y")
    assert first[:2] == second[:2] == (0, called(checkout / "run.sh", "x y"))
    assert re.fullmatch(
        "run.sh: setting up .venv with Python 3.12.0, only once\n"
        r"run.sh: what the engine needs, 2 packages: done in \d s\n",
        first[2],
    )
    assert second[2] == ""
    assert lines(checkout, "made") == ["made"]
    (installed,) = lines(checkout, "installed")
    assert installed.endswith(" --no-deps --require-hashes -r deploy/embedded.lock")

    (checkout / "requirements.lock").write_text("changed")
    run(checkout)
    assert lines(checkout, "made") == ["made", "made"]


def test_help_for_what_the_tests_packages_do_comes_without_installing_them(checkout: Path) -> None:
    provide(checkout, "python3", NEW)

    for word in ("audit", "sbom", "fuzz", "build"):
        status, out, err = run(checkout, word, "--help")
        assert (status, err) == (0, "")
        assert out.startswith(f"Usage: {checkout}/run.sh {word} [")
        assert run(checkout, word, "-h") == (0, out, "")
    assert lines(checkout, "installed") == []


def test_build_hands_its_folder_to_the_program_that_makes_the_wheels(checkout: Path) -> None:
    provide(checkout, "python3", NEW)

    assert run(checkout, "build", "a folder")[:2] == (0, f"build: -P {checkout}/deploy/build_wheels.py a folder\n")


@with_and_without_uv
def test_what_only_the_tests_take_comes_when_they_are_asked_for_into_the_same_environment(
    checkout: Path, uv: bool
) -> None:
    provide_tools(checkout, uv=uv)
    run(checkout, "up")
    before = len(lines(checkout, "installed"))
    for _ in range(2):
        assert run(checkout, "fuzz")[0] == 0
        assert run(checkout, "up")[0] == 0
    more, client = lines(checkout, "installed")[before:]
    assert more.startswith("sync --frozen --no-install-project") if uv else more.endswith(" -r requirements.lock")
    assert client.endswith("clients/sinch-1.1.4 -r tests/dialects/sinch/client-1.1.4.lock")
    assert lines(checkout, "made") == ["made"]


def test_what_the_tests_take_is_taken_as_well_where_they_come_first(checkout: Path) -> None:
    provide(checkout, "python3", NEW)
    said = run(checkout, "storm")[2]
    assert said.count(" packages: done in ") == 2
    assert [line.rpartition(" ")[2] for line in lines(checkout, "installed")] == [
        "deploy/embedded.lock",
        "requirements.lock",
        "tests/dialects/sinch/client-1.1.4.lock",
    ]


def failing(script: str) -> str:
    """A Python whose environments have a pip that runs this script."""
    return NEW.replace('*"-m pip"*) ', f'*"-m pip"*) {script}; ')


def test_without_a_package_index_it_says_so_in_one_line_with_the_last_ones_of_the_installer(checkout: Path) -> None:
    provide(checkout, "python3", failing("echo first; for n in 1 2 3; do echo Retrying $n; done; echo last; exit 1"))

    status, out, err = run(checkout, "up")

    venv = checkout / ".venv"
    assert (status, out) == (1, "")
    assert err.splitlines()[1:] == [
        f"run.sh: what the engine needs, 2 packages: failed. The last lines of {venv}/set-up.log:",
        *(f"    {line}" for line in ("first", "Retrying 1", "Retrying 2", "Retrying 3", "last")),
    ]

    provide(checkout, "python3", failing("echo No matching distribution found for one==1; exit 1"))
    err = run(checkout, "up")[2]
    assert "the package index could not be reached, or lacks one of them. Behind a proxy set HTTPS_PROXY" in err
    assert "PIP_INDEX_URL" in err
    assert err.endswith("    No matching distribution found for one==1\n")

    provide(checkout, "python3", NEW)
    assert run(checkout, "up")[:2] == (0, called(checkout / "run.sh", "up"))
    assert not (venv / "set-up.log").exists()


def test_ctrl_c_while_it_sets_up_gives_one_line_and_the_next_call_goes_on(checkout: Path) -> None:
    # `exec`, because a shell that is about to start another process can end at the signal without it. What is then left
    # would keep the lock, rightly: it is an installer that is still at work.
    provide(checkout, "python3", failing('echo "Traceback: KeyboardInterrupt" >&2; : >"$0.began"; exec sleep 60'))
    with start(checkout, "up", start_new_session=True) as process:
        assert eventually((checkout / ".venv/bin/python.began").exists)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[1:] == ["run.sh: stopped while setting up; the next call continues"]

    provide(checkout, "python3", NEW)
    assert run(checkout, "up")[:2] == (0, called(checkout / "run.sh", "up"))


def test_at_a_terminal_it_shows_how_far_it_is(checkout: Path) -> None:
    provide(checkout, "python3", failing("echo Collecting one; echo Collecting two; sleep 1.5"))
    ours, theirs = os.openpty()
    with start(checkout, "up", stderr=theirs) as process:
        os.close(theirs)
        said = ""
        with suppress(OSError):  # of the end
            while chunk := os.read(ours, 4096):
                said += chunk.decode()
        os.close(ours)
        assert process.wait(20) == 0
    shown = re.split(r"\r\n|\r\x1b\[K", said)
    assert any(re.fullmatch(r"run.sh: what the engine needs, 2 packages, 2 fetched, \d s", line) for line in shown), (
        shown
    )
    assert re.fullmatch(r"run.sh: what the engine needs, 2 packages: done in \d s", shown[-2])


def test_two_at_once_make_it_once(checkout: Path) -> None:
    provide(checkout, "python3", NEW)

    with start(checkout) as first, start(checkout) as second:
        assert (first.wait(timeout=60), second.wait(timeout=60)) == (0, 0)
        said = [process.stderr.read() for process in (first, second) if process.stderr]

    assert lines(checkout, "made") == ["made"]
    assert sum("waiting for another run.sh" in text for text in said) == 1


def test_a_set_up_that_was_killed_is_done_anew_and_blocks_nobody(checkout: Path) -> None:
    provide(checkout, "python3", NEW)
    with start(checkout) as killed:
        assert eventually(lambda: bool(lines(checkout, "made")))
        killed.kill()

    assert run(checkout)[0] == 0
    assert lines(checkout, "made") == ["made", "made"]


def test_uv_is_used_where_it_is(checkout: Path) -> None:
    provide(checkout, "python3", WITHOUT_VENV)
    provide(checkout, "uv", UV)

    status, out, _ = run(checkout)

    assert (status, out) == (0, called(checkout / "run.sh"))
    made, synced = lines(checkout, "installed")
    assert made.startswith("venv ")
    assert synced.startswith("sync --frozen --no-install-project ")
    assert synced.endswith(" --no-default-groups --group server --group fast --group embedded")  # no dev


@with_and_without_uv
def test_called_through_links_it_works_in_its_checkout_and_touches_nothing_beside_the_links(
    checkout: Path, uv: bool
) -> None:
    provide_tools(checkout, uv=uv)
    home = checkout.parent / "home"
    (home / "bin").mkdir(parents=True)
    (home / ".venv").mkdir()
    (home / "bin" / ".venv").mkdir()
    theirs = [home / ".venv" / "theirs", home / "bin" / ".venv" / "theirs"]
    for path in theirs:
        path.write_text("precious")
    (home / "work").symlink_to(checkout)  # and `..` behind it is the checkout's, not the home's
    (home / "absolute").symlink_to(home / "work" / ".." / checkout.name / "run.sh")
    (home / "bin" / "-dispatcher").symlink_to("../absolute")
    (home / "bin" / "d").symlink_to("-dispatcher")

    for script in (home / "absolute", home / "bin" / "-dispatcher", home / "bin" / "d", home / "work" / "run.sh"):
        assert run(checkout, "up", script=script)[:2] == (0, called(script, "up"))

    assert lines(checkout, "made") == ["made"]
    assert [path.read_text() for path in theirs] == ["precious", "precious"]
    assert sorted(path.name for path in home.iterdir()) == [".venv", "absolute", "bin", "work"]


def test_a_copy_outside_of_a_checkout_says_so_and_makes_nothing(checkout: Path) -> None:
    provide(checkout, "python3", NEW)
    elsewhere = checkout.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(checkout / "run.sh", elsewhere)

    status, out, err = run(checkout, "up", script=elsewhere / "run.sh")

    assert (status, out) == (1, "")
    assert err == (
        f"run.sh: {elsewhere} has no requirements.lock: call run.sh in its checkout, or through a link to it\n"
    )
    assert [path.name for path in elsewhere.iterdir()] == ["run.sh"]


@with_and_without_uv
@pytest.mark.parametrize(
    ("kind", "described"),
    [
        ("environment", "a Python environment"),
        ("folder", "a folder with other files"),
        ("file", "not a folder"),
        ("link", "a link to ../theirs"),
        ("link to nothing", "a link to ../theirs"),
    ],
)
def test_what_it_did_not_make_is_reported_and_stays(checkout: Path, kind: str, described: str, uv: bool) -> None:
    provide_tools(checkout, uv=uv)
    venv, theirs = checkout / ".venv", checkout.parent / "theirs"
    folder = theirs if kind == "link" else venv
    match kind:
        case "file":
            venv.write_text("precious")
        case "link to nothing":
            venv.symlink_to("../theirs")
        case _:
            folder.mkdir()
            (folder / ".hidden").write_text("precious")
    if kind == "environment":
        (venv / "pyvenv.cfg").touch()
    if kind == "link":
        venv.symlink_to("../theirs")
        (theirs / "set-up-from").write_text("/elsewhere 1 2")

    before = sorted(folder.rglob("*"))
    status, out, err = run(checkout, "up")

    assert (status, out) == (1, "")
    assert err == (
        f"run.sh: {venv} is {described} and was not made by run.sh, so it is left alone: move or remove it, "
        "then try again\n"
    )
    assert sorted(folder.rglob("*")) == before
    assert venv.is_symlink() == kind.startswith("link")
    assert lines(checkout, "made") == []


@with_and_without_uv
@pytest.mark.parametrize("kind", ["none", "empty", "marked", "of before the mark"])
def test_what_is_its_own_is_marked_before_anything_else_and_made_anew(checkout: Path, kind: str, uv: bool) -> None:
    provide_tools(checkout, uv=uv)
    venv = checkout / ".venv"
    if kind != "none":
        venv.mkdir()
    if kind in {"marked", "of before the mark"}:
        (venv / ".stale").mkdir()
        (venv / "pyvenv.cfg").touch()
        (venv / ("set-up-from" if kind == "of before the mark" else MARK)).write_text("/elsewhere 1 2")

    assert run(checkout, "up")[:2] == (0, called(checkout / "run.sh", "up"))
    assert lines(checkout, "found") == [MARK, "set-up.log"]
    assert sorted(path.name for path in venv.iterdir()) == ["bin", MARK, "set-up-from", "site"]


@with_and_without_uv
def test_one_that_is_killed_while_it_empties_goes_on_the_next_time(checkout: Path, uv: bool) -> None:
    rm = shutil.which("rm")
    provide_tools(checkout, uv=uv)
    run(checkout)
    (checkout / "requirements.lock").write_text("changed")
    # The first call is stopped before it removes anything, the second one after it has removed a part.
    for before in ("", f"{rm} -rf '{checkout}/.venv/bin'; "):
        provide(checkout, "rm", f"#!/bin/sh\n{before}kill -9 $PPID\n")
        assert run(checkout)[0] == -9
    provide(checkout, "rm", f'#!/bin/sh\nexec {rm} "$@"\n')

    assert run(checkout, "up")[:2] == (0, called(checkout / "run.sh", "up"))
    assert lines(checkout, "made") == ["made", "made"]


@pytest.mark.parametrize("shell", ["/bin/sh", None])
def test_the_shell_has_dispatcher_on_its_path(checkout: Path, shell: str | None) -> None:
    provide(checkout, "python3", NEW)
    words = "shell", "-c", 'cd / && dispatcher "x y" "$1"', "-", "z"
    environment = {"SHELL": shell} if shell else {}

    assert run(checkout, *words, **environment)[:2] == (0, "cli: -P -m dispatcher x y z\n")


CHECKS = ("ruff", "format", "lint-imports", "mypy", "bandit")


@pytest.fixture
def tools(checkout: Path) -> Path:
    """The folder of the tools that `test` calls: fakes that print their arguments and find nothing."""
    provide(checkout, "python3", NEW)
    run(checkout, "fuzz")
    folder = checkout / ".venv" / "bin"
    for name in ("ruff", "mypy", "lint-imports", "bandit"):
        replace(folder / name, f'echo "{name} $*"')
    replace(folder / "python", 'case "$*" in *pytest*) echo "$*";; esac')
    return folder


def replace(tool: Path, script: str) -> None:
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def verdicts(out: str) -> dict[str, str]:
    """The results of the checks and of the tests in the last lines, without their times."""
    results = [line.removeprefix("run.sh: ").rpartition(", ")[0] for line in out.splitlines()[-len(CHECKS) - 1 :]]
    return {name: verdict for name, _, verdict in (line.partition(" ") for line in results)}


def test_the_test_command_runs_all_tests_on_many_workers_unless_it_gets_what_to_run(
    checkout: Path, tools: Path
) -> None:
    for words, given in (
        ((), "-n auto --dist=load --ignore=tests/acceptance --ignore=tests/browser"),
        (("tests/unit", "-k", "a b"), "tests/unit -k a b"),
    ):
        status, out, err = run(checkout, "test", *words)

        assert (status, err) == (0, "")
        assert out.splitlines()[:2] == [f"-m pytest {given}", ""]  # the checks have nothing to say
        assert verdicts(out) == dict.fromkeys((*CHECKS, "pytest"), "passed")


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("ruff", "ruff check"),
        ("format", "ruff format --check --quiet"),
        ("lint-imports", "lint-imports "),
        ("mypy", "mypy "),
        ("bandit", "bandit --configfile pyproject.toml --quiet --recursive dispatcher workers schedules"),
    ],
)
def test_a_check_that_fails_is_shown_after_the_tests_and_fails_the_test_command(
    checkout: Path, tools: Path, name: str, called: str
) -> None:
    tool, _, words = called.partition(" ")
    replace(tools / tool, f'echo "{tool} $*"; echo "why" >&2; case "$*" in "{words}") exit 7;; esac')

    status, out, _ = run(checkout, "test")

    assert status == 1
    assert out.splitlines()[:5] == [
        "-m pytest -n auto --dist=load --ignore=tests/acceptance --ignore=tests/browser",
        "",
        f"== {name} failed:",
        called,
        "why",
    ]
    assert verdicts(out) == dict.fromkeys((*CHECKS, "pytest"), "passed") | {name: "FAILED (status 7)"}


def test_checks_and_tests_run_at_the_same_time(checkout: Path, tools: Path) -> None:
    for name, mine, others in (("ruff", "checks-run", "tests-run"), ("python", "tests-run", "checks-run")):
        meet = f"touch {mine}; n=0; until [ -e {others} ] || [ $((n += 1)) -gt 500 ]; do sleep 0.02; done"
        replace(tools / name, f'case "$*" in check|*pytest*) {meet}; [ -e {others} ];; esac')

    assert run(checkout, "test")[0] == 0


def test_tests_that_fail_keep_their_status(checkout: Path, tools: Path) -> None:
    replace(tools / "python", 'case "$*" in *pytest*) exit 5;; esac')

    status, out, _ = run(checkout, "test")

    assert status == 5
    assert verdicts(out) == dict.fromkeys(CHECKS, "passed") | {"pytest": "FAILED (status 5)"}


def test_the_scripts_can_be_run() -> None:
    for name in ("run.sh", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK)
