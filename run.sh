#!/bin/sh
# The one command of this repository. It sets up its own environment (.venv) first, whenever that is needed.
#
#   ./run.sh test [pytest arguments]   lint, types, import contracts, a search for insecure code, and all tests on more
#                                      workers than cores; with arguments (a file, -k, -x, ...) pytest runs as they say
#   ./run.sh audit [...]               asks a service for known vulnerabilities of the pinned packages: needs a network
#   ./run.sh demo                      a whole engine on temporary data, shown at work
#   ./run.sh up [--dev]                a whole engine on this machine, until Ctrl-C
#   ./run.sh shell [-c COMMAND]        your shell, with `dispatcher` and this environment's `python` on its path
#   ./run.sh fuzz [N]                  sends made-up requests to the API and all dialects, N (300) for each operation
#   ./run.sh build [FOLDER]            two wheels in dist/, or in FOLDER: what producers install, and the engine
#   ./run.sh bench [--quick] [...]     measures the engine beside baselines (./run.sh bench --help)
#   ./run.sh ...                       anything else is a command of the `dispatcher` command line
#
# Needs Python 3.11 or newer, nothing else. Uses uv where it is installed, else venv and pip with hashes.
set -eu

fail() {
    echo "run.sh: $*" >&2
    exit 1
}

# Where this file is, and not where a link to it is. `readlink -f` is missing on older macOS.
file=$0
while [ -L "$file" ]; do
    target=$(readlink -- "$file")
    case $target in
    /*) file=$target ;;
    *) file=$(dirname -- "$file")/$target ;;
    esac
done
root=$(CDPATH='' cd -P -- "$(dirname -- "$file")" && pwd -P)
venv=$root/.venv
mark=$venv/made-by-run.sh # whose environment it is; nothing is removed from one without it
stamp=$venv/set-up-from   # what a finished one was made from
old_client=tests/dialects/sinch/client-1.1.4.lock
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH # another environment's variables would leak into ours

for needed in requirements.lock uv.lock pyproject.toml "$old_client"; do
    [ -f "$root/$needed" ] || fail "$root has no $needed: call run.sh in its checkout, or through a link to it there"
done

has_uv() { command -v uv >/dev/null 2>&1; }

# Sets $python to the newest usable Python. With pip it must be able to make an environment, too.
find_python() {
    unable=
    for python in python3.13 python3.12 python3.11 python3; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        if has_uv || "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then return; fi
        unable=${unable:-$python}
    done
    [ -z "$unable" ] || fail "$unable cannot make environments: apt-get install $unable-venv (as root), then try again"
    fail "Python 3.11 or newer is needed and was not found on PATH"
}

# What the environment depends on, as one line. A difference to the stamp means: make it again.
wanted() {
    echo "$root $(cat "$root/requirements.lock" "$root/uv.lock" "$root/pyproject.toml" "$root/$old_client" | cksum)"
}

# The import fails where the Python below the environment went away or became another one.
is_ready() {
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted)" ] && "$venv/bin/python" -P -c 'import schedules' 2>/dev/null
}

set_up() {
    find_python
    # Two at once: the second waits. The lock lives as long as this shell's file descriptor, so it is never left behind.
    exec 9>>"$root/.venv.lock"
    lock='import fcntl, sys; fcntl.flock(9, fcntl.LOCK_EX | int(sys.argv[1]))'
    if ! "$python" -c "$lock" 4 2>/dev/null; then
        echo "run.sh: waiting for another run.sh that sets up the environment" >&2
        "$python" -c "$lock" 0
    fi
    if ! is_ready; then
        take_over
        echo "run.sh: setting up .venv with $("$python" --version), once; this can take a minute" >&2
        make_empty
        if has_uv; then with_uv; else with_pip; fi
        # A client that the tests drive, and that no environment can hold beside its own newer version.
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
            --target "$venv/clients/sinch-1.1.4" -r "$root/$old_client"
        # Importable from anywhere in this environment, without building a package.
        echo "$root" >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/checkout.pth"
        # As a package would bring it. It finds its own folder, whatever characters are in that one's name.
        printf '#!/bin/sh\nexec "${0%%/*}/python" -P -m dispatcher "$@"\n' >"$venv/bin/dispatcher"
        chmod +x "$venv/bin/dispatcher"
        wanted >"$stamp"
    fi
    exec 9>&-
}

# Marks .venv as ours where it is: nothing yet, or empty, or marked, or finished by a run.sh that knew no mark. What
# else is there is somebody's, and stays.
take_over() {
    if [ -L "$venv" ]; then
        stop_at "a link to $(readlink -- "$venv")"
    elif [ ! -e "$venv" ]; then
        mkdir "$venv"
    elif [ ! -d "$venv" ]; then
        stop_at "no folder"
    elif [ ! -f "$mark" ] && [ ! -f "$stamp" ] && [ -n "$(ls -A "$venv")" ]; then
        if [ -f "$venv/pyvenv.cfg" ]; then stop_at "a Python environment"; fi
        stop_at "a folder with other things in it"
    fi
    echo "run.sh made what is in this folder, and removes it when it makes it again." >"$mark"
}

stop_at() { fail "$venv is $1, not made by run.sh, so it stays as it is: move it away or remove it, then try again"; }

# The mark stays meanwhile: whatever interrupts this, the next call goes on.
make_empty() {
    rm -f "$stamp"
    for path in "$venv"/* "$venv"/.[!.]* "$venv"/..?*; do
        [ "$path" = "$mark" ] || rm -rf -- "$path"
    done
}

with_uv() (
    path=$("$python" -c 'import sys; print(sys.executable)')
    cd "$root"
    # Made here, because `uv sync` removes what it takes for no environment, and the mark with it.
    uv venv --quiet --allow-existing --python "$path" "$venv"
    UV_PROJECT_ENVIRONMENT=$venv uv sync --frozen --all-groups --no-install-project --quiet --python "$path"
)

with_pip() {
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        -r "$root/requirements.lock"
}

is_ready || set_up

case ${1-} in
test)
    shift
    cd "$root"
    unset PYTHONDONTWRITEBYTECODE # or each of the many processes that tests start compiles everything anew
    [ $# -gt 0 ] || set -- -n auto
    said=$(mktemp -d)
    trap 'rm -rf "$said"' EXIT
    # What each check printed goes to $said/<its name>, its status and seconds to $said/<its name>.end.
    check() {
        name=$1 tool=$2 began=$(date +%s) status=0
        shift 2
        "$venv/bin/$tool" "$@" >"$said/$name" 2>&1 || status=$?
        echo "$status $(($(date +%s) - began))" >"$said/$name.end"
    }
    {
        check ruff ruff check
        check format ruff format --check --quiet
        check lint-imports lint-imports
        check mypy mypy
        check bandit bandit --configfile pyproject.toml --quiet --recursive dispatcher workers schedules
    } &
    trap 'kill $!; exit 130' INT TERM
    began=$(date +%s) failed=0
    "$venv/bin/python" -m pytest "$@" || failed=$?
    echo "$failed $(($(date +%s) - began))" >"$said/pytest.end"
    wait
    for name in ruff format lint-imports mypy bandit; do
        read -r status seconds <"$said/$name.end"
        [ "$status" -ne 0 ] || continue
        printf '\n== %s failed:\n' "$name"
        cat "$said/$name"
        failed=1
    done
    echo
    for name in ruff format lint-imports mypy bandit pytest; do
        read -r status seconds <"$said/$name.end"
        [ "$status" -eq 0 ] && result=passed || result="FAILED (status $status)"
        echo "run.sh: $name $result, $seconds s"
    done
    exit "$failed"
    ;;
audit)
    # Exit status: 0 nothing known, 1 something found, 2 not checked. Arguments go to pip-audit (--ignore-vuln ID, ...).
    shift
    cd "$root"
    status=0
    for lock in requirements.lock deploy/requirements.lock; do
        said=$("$venv/bin/python" -W ignore -m pip_audit --require-hashes --disable-pip --strict \
            --progress-spinner off --requirement "$lock" "$@" 2>&1) || true
        case $said in
        *"No known vulnerabilities found"*) ;;
        *"Found "*" known vulnerabilit"*) status=1 ;;
        *)
            echo "run.sh: $lock was not checked: $(echo "$said" | tail -n 1)" >&2
            exit 2
            ;;
        esac
        echo "$lock, $(grep -c '^[a-z].*==' "$lock") pinned packages:"
        echo "$said"
    done
    exit $status
    ;;
fuzz)
    # Some minutes; the argument is how many requests are made up for each operation.
    cd "$root"
    FUZZ_EXAMPLES=${2:-300} exec "$venv/bin/python" -m pytest tests/fuzz
    ;;
build)
    shift
    exec "$venv/bin/python" -P "$root/deploy/build_wheels.py" "$@"
    ;;
shell)
    shift
    if [ $# -eq 0 ] && [ -t 0 ]; then echo "run.sh: \`dispatcher\` is on the path of this shell; \`exit\` leaves it" >&2; fi
    PATH=$venv/bin:$PATH exec "${SHELL:-/bin/sh}" "$@"
    ;;
bench)
    shift
    exec "$venv/bin/python" -P -m benchmarks "$@"
    ;;
*)
    # -P: the folder one happens to stand in is not searched for modules.
    exec "$venv/bin/python" -P -m dispatcher "$@"
    ;;
esac
