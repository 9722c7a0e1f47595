#!/bin/sh
# The one command of this repository. If needed, it first sets up its own environment (.venv): what the engine needs,
# and what only the tests need when they are first run.
#
#   ./run.sh test [pytest arguments]   lint, types, import contracts, a search for insecure code, and the tests on more
#                                      workers than cores; with arguments (a file, -k, -x, ...) pytest runs as they say
#   ./run.sh acceptance [...]          the tests that run whole engines and nodes, and commands as users type them
#   ./run.sh browser [...]             the console and the portal in Chromium, with a whole engine behind them
#   ./run.sh audit [...]               asks a service for known vulnerabilities of the pinned packages: needs a network
#   ./run.sh sbom [LOCK]               prints the bill of materials (CycloneDX) of what an installation consists of
#   ./run.sh demo                      shows a whole engine at work, with temporary data
#   ./run.sh up [--dev]                a whole engine on this machine, until Ctrl-C
#   ./run.sh shell [-c COMMAND]        your shell, with `dispatcher` and this environment's `python` on its path
#   ./run.sh fuzz [N]                  sends generated requests to the API and all dialects, N (300) for each operation
#   ./run.sh storm [--minutes N] [...] does everything bad at once to an engine (./run.sh storm --help)
#   ./run.sh faults [NAME...] [...]    does faults to an engine one by one, or mixed (./run.sh faults --help)
#   ./run.sh guide                     types the guide for operators on two servers (folders): docs/operations.md
#   ./run.sh soak [--minutes N] [...]  puts an engine under steady load and watches what grows (./run.sh soak --help)
#   ./run.sh build [FOLDER]            two wheels in dist/, or in FOLDER: what producers install, and the engine
#   ./run.sh bench [--quick] [...]     compares the engine with baselines (./run.sh bench --help)
#   ./run.sh ...                       anything else is a command of the `dispatcher` command line; -h lists all
#
# Needs only Python 3.11 or newer. Uses uv if it is installed, otherwise venv and pip with hashes.
set -eu

fail() {
    echo "run.sh: $*" >&2
    exit 1
}

# The folder of this file, not of a link to it. `readlink -f` is missing on older macOS.
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
mark=$venv/made-by-run.sh # shows that run.sh made it; nothing is removed from an environment without it
stamp=$venv/set-up-from   # what a finished environment was made from
tools=$venv/tests-from    # the same for what only the tests need
log=$venv/set-up.log      # of a set-up that is running, or has failed
old_client=tests/dialects/sinch/client-1.1.4.lock
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH # another environment's variables would leak into ours

for needed in requirements.lock deploy/embedded.lock uv.lock pyproject.toml "$old_client"; do
    [ -f "$root/$needed" ] || fail "$root has no $needed: call run.sh in its checkout, or through a link to it"
done

has_uv() { command -v uv >/dev/null 2>&1; }

# Sets $python to the newest usable Python. Without uv, it must be able to create environments, too.
find_python() {
    unable=
    for python in python3.13 python3.12 python3.11 python3; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        if has_uv || "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then return; fi
        unable=${unable:-$python}
    done
    [ -z "$unable" ] || fail "$unable cannot create environments: apt-get install $unable-venv (as root), then try again"
    fail "Python 3.11 or newer is needed and was not found on PATH"
}

# What the environment depends on, as one line. If it differs from the stamp, the environment is made again.
wanted() {
    printf '%s\n' "$root $(cat "$root/requirements.lock" "$root/deploy/embedded.lock" "$root/uv.lock" "$root/pyproject.toml" \
        "$root/$old_client" | cksum)"
}

# The import fails if the Python that the environment was made with was removed or replaced.
can_run() { is_from "$stamp" && "$venv/bin/python" -P -c 'import schedules' 2>/dev/null; }
can_test() { can_run && is_from "$tools"; }
is_from() { [ -f "$1" ] && [ "$(cat "$1")" = "$(wanted)" ]; }

# Sets up what $1 (can_run, can_test) checks.
set_up() {
    find_python
    # If two run at once, the second waits. The lock lives as long as this shell's file descriptor, so none is left over.
    exec 9>>"$root/.venv.lock"
    lock='import fcntl, signal, sys; signal.signal(2, signal.SIG_DFL); fcntl.flock(9, fcntl.LOCK_EX | int(sys.argv[1]))'
    if ! "$python" -c "$lock" 4 2>/dev/null; then
        echo "run.sh: waiting for another run.sh to set up the environment" >&2
        "$python" -c "$lock" 0
    fi
    if ! can_run; then
        take_over
        echo "run.sh: setting up .venv with $("$python" --version), only once" >&2
        make_empty
        step "what the engine needs" deploy/embedded.lock install_for_running
        # Makes the checkout importable from anywhere in this environment, without building a package.
        printf '%s\n' "$root" >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/checkout.pth"
        # The command, as a package would install it. It finds its own folder, whatever characters that name contains.
        printf '#!/bin/sh\nexec "${0%%/*}/python" -P -m dispatcher "$@"\n' >"$venv/bin/dispatcher"
        chmod +x "$venv/bin/dispatcher"
        wanted >"$stamp"
    fi
    if ! "$1"; then
        step "what only the tests need" requirements.lock install_for_tests
        wanted >"$tools"
    fi
    exec 9>&-
}

# Installs $1 from the lock $2 by $3, and shows its progress: at a terminal on one line that is redrawn.
step() {
    what="$1, $(grep -c '^[a-z0-9].*==' "$root/$2" || true) packages" began=$(date +%s) drawing=
    trap 'erase; echo "run.sh: stopped while setting up; the next call continues" >&2; exit 130' INT
    : >"$log"
    if [ -t 2 ]; then
        draw &
        drawing=$!
    fi
    (cd "$root" && "$3") >>"$log" 2>&1 || explain
    erase
    trap - INT
    rm -f "$log"
    echo "run.sh: $what: done in $(($(date +%s) - began)) s" >&2
}

draw() {
    while kill -0 $$ 2>/dev/null; do
        fetched=$(grep -Ec '^(Collecting|Requirement already)' "$log" || true) now=
        if grep -q '^Installing collected' "$log"; then
            now=", installing"
        elif [ "$fetched" -gt 0 ]; then
            now=", $fetched fetched"
        fi
        printf '\r\033[Krun.sh: %s%s, %s s' "$what" "$now" "$(($(date +%s) - began))" >&2
        sleep 1
    done
}

erase() {
    [ -n "$drawing" ] || return 0
    kill "$drawing" 2>/dev/null || true
    wait "$drawing" 2>/dev/null || true
    drawing=
    printf '\r\033[K' >&2
}

explain() {
    erase
    why=failed
    if grep -Eqi 'connect|resol|network|unreachable|timed out|proxy|certificate|no matching distribution' "$log"; then
        if has_uv; then index=UV_DEFAULT_INDEX; else index=PIP_INDEX_URL; fi
        why="not installed: the package index could not be reached, or lacks one of them. Behind a proxy set HTTPS_PROXY,"
        why="$why for an index of your own $index, then try again"
    fi
    echo "run.sh: $what: $why. The last lines of $log:" >&2
    tail -n 5 "$log" | sed 's/^/    /' >&2
    exit 1
}

# Marks .venv as ours if it does not exist, is empty, is marked, or was finished by an older run.sh without a mark.
# Anything else is somebody else's and stays.
take_over() {
    if [ -L "$venv" ]; then
        stop_at "a link to $(readlink -- "$venv")"
    elif [ ! -e "$venv" ]; then
        mkdir "$venv"
    elif [ ! -d "$venv" ]; then
        stop_at "not a folder"
    elif [ ! -f "$mark" ] && [ ! -f "$stamp" ] && [ -n "$(ls -A "$venv")" ]; then
        if [ -f "$venv/pyvenv.cfg" ]; then stop_at "a Python environment"; fi
        stop_at "a folder with other files"
    fi
    echo "run.sh made the contents of this folder, and removes them when it makes them again." >"$mark"
}

stop_at() { fail "$venv is $1 and was not made by run.sh, so it is left alone: move or remove it, then try again"; }

# The mark stays in place: if this is interrupted, the next call continues.
make_empty() {
    rm -f "$stamp"
    for path in "$venv"/* "$venv"/.[!.]* "$venv"/..?*; do
        [ "$path" = "$mark" ] || rm -rf -- "$path"
    done
}

# Both are called in the checkout, in a place where `set -e` has no effect.
install_for_running() {
    if has_uv; then
        # Made here, because `uv sync` removes a folder that it does not recognise as an environment, and the mark.
        uv venv --quiet --allow-existing --python "$(own_path "$python")" "$venv" &&
            with_uv --no-default-groups --group server --group fast --group embedded
    else
        "$python" -m venv "$venv" && with_pip -r deploy/embedded.lock
    fi
}

install_for_tests() {
    if has_uv; then with_uv --all-groups; else with_pip -r requirements.lock; fi &&
        # A client that the tests run. No environment can contain it together with its newer version.
        with_pip --upgrade --target "$venv/clients/sinch-1.1.4" -r "$old_client"
}

own_path() { "$1" -c 'import sys; print(sys.executable)'; }

with_uv() {
    UV_PROJECT_ENVIRONMENT=$venv uv sync --frozen --no-install-project --python "$(own_path "$python")" "$@"
}

with_pip() {
    PIP_RETRIES=${PIP_RETRIES:-2} "$venv/bin/python" -m pip install --disable-pip-version-check --no-input \
        --progress-bar off --no-deps --require-hashes "$@"
}

# Help that needs no environment. `test -h` is pytest's; `bench -h`, `storm -h`, `faults -h` and `soak -h` list what these programs define.
usage() {
    case $1 in
    audit) cat <<END ;;
Usage: $0 audit [OPTIONS]

Check the pinned packages for known vulnerabilities. It needs a network.
Options go to pip-audit: --ignore-vuln ID, ...

Exit status: 0 none are known, 1 some are, 2 it could not be checked,
3 none are known, but the service does not know all packages.
END
    sbom) cat <<END ;;
Usage: $0 sbom [LOCK]

Print the software bill of materials (CycloneDX, JSON) of what a lock file of
this checkout pins, default deploy/requirements.lock: packages, which of them
needs which, and the files with their hashes. It needs no network.
END
    fuzz) cat <<END ;;
Usage: $0 fuzz [N]

Send made-up requests to the API and all dialects: N for each operation,
default 300. It takes some minutes.
END
    build) cat <<END ;;
Usage: $0 build [FOLDER]

Build the two wheels, the producers' and the engine's, in FOLDER, default dist.
END
    esac
}

case "${1-} ${2-}" in
"audit -h" | "audit --help" | "sbom -h" | "sbom --help" | "fuzz -h" | "fuzz --help" | "build -h" | "build --help")
    usage "$1"
    exit
    ;;
esac

case ${1-} in
test | acceptance | browser | audit | sbom | fuzz | guide | storm | faults | soak | build | bench) can_test || set_up can_test ;;
*) can_run || set_up can_run ;;
esac

case ${1-} in
test)
    shift
    cd "$root"
    unset PYTHONDONTWRITEBYTECODE # otherwise each of the many processes that tests start compiles everything again
    # Each worker gets many tests in a row: those of a file share what it starts, and nobody is told of each one.
    [ $# -gt 0 ] || set -- -n auto --dist=load --ignore=tests/acceptance --ignore=tests/browser
    said=$(mktemp -d)
    trap 'rm -rf "$said"' EXIT
    # A check's output goes to $said/<its name>, its status and seconds to $said/<its name>.end.
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
acceptance)
    # Minutes. Arguments go to pytest.
    shift
    cd "$root"
    unset PYTHONDONTWRITEBYTECODE # as above
    [ $# -gt 0 ] || set -- -n auto
    exec "$venv/bin/python" -m pytest tests/acceptance "$@"
    ;;
browser)
    # Minutes. Without a Chromium it says so and runs nothing. Arguments go to pytest.
    shift
    cd "$root"
    unset PYTHONDONTWRITEBYTECODE # as above
    exec "$venv/bin/python" -m pytest tests/browser "$@"
    ;;
audit)
    # Exit status: 0 nothing known, 1 something found, 2 not checked, 3 nothing known, but of some packages the service
    # knows nothing. Arguments go to pip-audit (--ignore-vuln ID, ...).
    shift
    cd "$root"
    status=0 unknown=
    for lock in requirements.lock deploy/requirements.lock; do
        said=$("$venv/bin/python" -W ignore -m pip_audit --require-hashes --disable-pip \
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
        unknown="$unknown $(echo "$said" | sed -n '/^Name  *Skip Reason/,$ { /^Name /d; /^-/d; s/ .*//p; }')"
    done
    unknown=$(printf '%s\n' $unknown | sort -u)
    [ -n "$unknown" ] || exit "$status"
    echo "run.sh: not checked, because the service does not know them:" $unknown >&2
    [ "$status" -ne 0 ] || status=3
    exit "$status"
    ;;
sbom)
    shift
    exec "$venv/bin/python" -P "$root/deploy/sbom.py" "$@"
    ;;
fuzz)
    # Takes some minutes. The argument is the number of generated requests for each operation; a third of it is the
    # number of random histories of deliveries.
    cd "$root"
    case ${2-} in
    *[!0-9]*) fail "fuzz [N]: N is the number of generated requests for each operation, 300 by default" ;;
    esac
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
guide)
    # Two minutes on two cores. Arguments go to pytest.
    shift
    cd "$root"
    exec "$venv/bin/python" -m pytest tests/guide/two_servers.py "$@"
    ;;
storm)
    shift
    PYTHONPATH=$root exec "$venv/bin/python" -P -m tests.faults "$@"
    ;;
faults)
    shift
    PYTHONPATH=$root exec "$venv/bin/python" -P -m tests.faults.cases "$@"
    ;;
soak)
    shift
    PYTHONPATH=$root exec "$venv/bin/python" -P -m tests.faults.soak "$@"
    ;;
bench)
    shift
    exec "$venv/bin/python" -P -m benchmarks "$@"
    ;;
*)
    # -P: the current folder is not searched for modules.
    exec "$venv/bin/python" -P -m dispatcher.cli.run_sh "$0" "$@"
    ;;
esac
