"""A server of the guide: a folder with its own /etc, /opt and /var, and with a `systemctl` of ours.

What the guide types runs unchanged but for the following, and nothing else:

- paths below /etc, /opt, /var and /usr/local/bin lead into the folder, in blocks, units and the command line for root;
- ports that processes listen on are free ones, and `values` replaces what the guide leaves to its reader;
- `useradd` does nothing; `sudo -u postgres` and `runuser -u dispatcher --` run as we are, the first with programs and
  the address of the test's PostgreSQL;
- `git clone` copies what `checkouts` has, and gives it the version of its tag; `scp` copies from the folder of
  server one;
- `venv/bin/python -m pip install` makes the packages of this environment seen;
- of a unit, its command, environment, secrets, notifications, signals and order count; what confines it does not.
"""

import json
import re
import shutil
import signal
import socketserver
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.dead_ports import refusing_port
from tests.deploy_files import PORTS, Unit, units
from tests.deployed import CLEAN, Running
from tests.guide.terminal import Terminal
from tests.process_table import eventually

_PATH = re.compile(r"(?<![\w.])/(?:etc/(?:dispatcher|systemd|prometheus)|opt/dispatcher|var/|usr/local/bin/)")
_PORT = re.compile(rf"\b(?:{'|'.join(map(str, PORTS.values()))})\b")
_CALL = f"""#!{sys.executable} -IS
import json, socket, sys
with socket.socket(socket.AF_UNIX) as call:
    call.connect(SOCKET)
    call.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
    answer = json.loads(call.makefile().read())
sys.stderr.write(answer)
sys.exit(bool(answer))
"""
_PIP = """import sysconfig, pathlib
pathlib.Path(sysconfig.get_path("purelib"), "packages.pth").write_text(PACKAGES + "\\n")
"""
_OWN_NAME = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"']
HAS_NAME = (
    shutil.which("unshare") is not None
    and subprocess.run([*_OWN_NAME, "a-name", "true"], capture_output=True, check=False).returncode == 0
)


class Server:
    """Use it as a context manager. `postgres` is what the superuser's programs find in their environment; `one` is the
    folder of server one."""

    def __init__(
        self, name: str, folder: Path, one: Path, values: Mapping[str, str], postgres: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.ports = {process: refusing_port() for process in PORTS}
        self.active: dict[str, Running | None] = {}  # units; None: it has ended well, and stays
        self.enabled: set[str] = set()
        self._values, self._postgres, self._one = values, postgres, one
        self._units: dict[str, Unit] = {}
        self._own_name = [*_OWN_NAME, name] if HAS_NAME else []
        self._environment = {
            "PATH": f"{folder}/bin:{folder}/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
        }
        self._terminal = Terminal(self._own_name, self._environment, folder / "terminal")

    def __enter__(self) -> Self:
        for path in ("bin", "etc/systemd/system", "var", "opt/dispatcher", "usr/local/bin", "checkouts", "run"):
            (self.folder / path).mkdir(parents=True)
        self._make_programs()
        self._terminal.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._terminal.__exit__()
        self._calls.shutdown()
        self._calls.server_close()
        for running in self.active.values():
            if running:
                running.kill()

    def run(self, code: str, place: str) -> str:
        """What a block printed."""
        return self._terminal.run(self.here(code), place)

    def here(self, text: str) -> str:
        """A text of the guide or of `deploy/`, as it is on this server."""
        for there, here in self._values.items():
            text = text.replace(there, here)
        names = {str(number): str(self.ports[process]) for process, number in PORTS.items()}
        text = _PORT.sub(lambda found: names[found[0]], text)
        return _PATH.sub(lambda found: f"{self.folder}{found[0]}", text)

    def offer(self, version: str, source: Path) -> None:
        """Has `git clone` find this version of a source tree."""
        target = self.folder / "checkouts" / version
        for part in ("dispatcher", "workers", "schedules", "deploy"):
            shutil.copytree(source / part, target / part)
        for path in (target / "deploy/systemd").rglob("*"):
            if path.is_file():
                path.write_text(self.here(path.read_text()))
        versions = target / "dispatcher/version.py"
        versions.write_text(re.sub('(?m)^__version__ = ".+"', f'__version__ = "{version}"', versions.read_text()))

    def systemctl(self, *words: str) -> str:
        """What goes wrong, if something does."""
        verb, *names = words
        if verb == "daemon-reload":
            self._units = units(self.folder / "etc/systemd/system")
            return ""
        all_that_run = [f"dispatcher-{name}" for name in self.active] if "dispatcher-*" in names else []
        known = {"dispatcher.target", "dispatcher-*", *(unit.name for unit in self._units.values())}
        unknown = [name for name in names if name not in known and f"{name}.service" not in known]
        if unknown:
            return f"Unit {unknown[0]} not found.\n"
        chosen = [_short(name) for name in (*names, *all_that_run) if name not in {"dispatcher.target", "dispatcher-*"}]
        match verb:
            case "enable":
                self.enabled |= set(chosen)
            case "start":
                return self._start(chosen or sorted(self.enabled))
            case "stop" | "restart":
                assert chosen, "it would come back before the target's units have stopped"
                self._stop([name for name in chosen if name in self.active])
                return self._start(chosen) if verb == "restart" else ""
            case _:
                return f"Unknown command verb {verb}.\n"
        return ""

    def _start(self, names: list[str]) -> str:
        if "migrate" not in self.active:  # what each other unit wants, and comes after
            assert "dispatcher-migrate.service" in self._units[names[0]].all("Wants") or names[0] == "migrate"
            if failed := self._migrate():
                return failed
        for name in names:
            if name not in self.active:
                self.active[name] = self._begin(name)
        for name in names:
            running = self.active[name]
            if running and self._units[name].one("Type") == "notify" and not _is_ready(running):
                return f"Job for dispatcher-{name}.service failed:\n{running.said}"
        return ""

    def _migrate(self) -> str:
        """Runs it to its end, unless it is masked."""
        if self._units["migrate"].all("ExecStart"):
            migrate = self._begin("migrate")
            status = migrate.process.wait(60)
            migrate.systemd.close()
            if status != 0:
                return f"Job for dispatcher-migrate.service failed:\n{migrate.said}"
        self.active["migrate"] = None
        return ""

    def _begin(self, name: str) -> Running:
        unit, folder = self._units[name], self.folder / "run" / name
        shutil.rmtree(folder / "secrets", ignore_errors=True)
        (folder / "secrets").mkdir(parents=True)
        for secret, kept in unit.secrets.items():
            shutil.copy(kept, folder / "secrets" / secret)
        state = Path(unit.one("WorkingDirectory"))
        state.mkdir(exist_ok=True, parents=True)
        lines = re.findall("^([A-Z_]+)=(.*)$", Path(unit.one("EnvironmentFile")).read_text(), re.MULTILINE)
        environment = {**self._environment, **unit.environment, **dict(lines)}
        command = [*self._own_name, *unit.command]
        return Running.begin(name, command, environment, folder, unit.stop_seconds, managed=True, state=state)

    def _stop(self, names: list[str]) -> None:
        stopped = [(name, running) for name in names if (running := self.active.pop(name)) is not None]
        for name, running in stopped:
            assert running.process.poll() is None, f"{name} had ended by itself:\n{running.said}"
            running.process.send_signal(signal.SIGTERM)
        for name, running in stopped:
            status = running.process.wait(running.stop_seconds)
            assert status in CLEAN, f"{name} ended with {status}:\n{running.said}"
            running.systemd.close()

    def _make_programs(self) -> None:
        address = str(self.folder / "systemctl")
        server = self

        class Call(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    answer = server.systemctl(*json.loads(self.rfile.readline()))
                except (AssertionError, OSError) as error:
                    answer = f"{error!r}\n"
                self.wfile.write(json.dumps(answer).encode())

        self._calls = socketserver.ThreadingUnixStreamServer(address, Call)
        self._calls.daemon_threads = True
        threading.Thread(target=self._calls.serve_forever, name=address, daemon=True).start()
        superuser = " ".join(f"{name}={value}" for name, value in self._postgres.items())
        pip = self.folder / "pip/__main__.py"
        pip.parent.mkdir()
        pip.write_text(_PIP.replace("PACKAGES", repr(sysconfig.get_path("purelib"))))
        venv = f'{sys.executable} -m venv --without-pip "$3" && cp -r {pip.parent} "$3"/lib/python*/site-packages/'
        programs = {
            "systemctl": _CALL.replace("SOCKET", repr(address)),
            "useradd": "#!/bin/sh\n",
            "sudo": f'#!/bin/sh\nshift 2\nexec env {superuser} "$@"\n',
            "runuser": '#!/bin/sh\nshift 3\nexec "$@"\n',
            "git": f'#!/bin/sh\nmkdir -p "${{5%/*}}" && exec cp -a {self.folder}/checkouts/"${{3#v}}" "$5"\n',
            "scp": f'#!/bin/sh\nthere=${{2#root@server-one:}}\nexec cp -a "{self._one}${{there#{self.folder}}}" "$3"\n',
            "python3": f'#!/bin/sh\n[ "$1 $2" = "-m venv" ] || exec {sys.executable} "$@"\n{venv}\n',
        }
        for name, text in programs.items():
            path = self.folder / "bin" / name
            path.write_text(text)
            path.chmod(0o755)


def _is_ready(running: Running) -> bool:
    eventually(lambda: "READY=1" in running.told() or running.process.poll() is not None, within=60)
    return running.process.poll() is None


def _short(name: str) -> str:
    return name.removeprefix("dispatcher-").removesuffix(".service")
