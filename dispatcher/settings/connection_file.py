"""Where a locally started engine says how it is reached, and whether it runs."""

import os
import sys
from pathlib import Path

from dotenv import dotenv_values

from dispatcher.settings.secret_files import Unusable, found_in_files, given_variables

CONNECTION_FILE = "engine.env"
LOCK_FILE = "engine.lock"


def default_data_dir() -> Path:
    """Where a locally started engine keeps its data: `DISPATCHER_DATA_DIR`, or the user's data folder."""
    if chosen := os.environ.get("DISPATCHER_DATA_DIR"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "dispatcher"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "dispatcher"


def is_running(directory: Path) -> bool:
    """Whether an engine runs with this data directory: its lock is held. False as well if we may not open that."""
    try:
        lock = os.open(directory / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    import fcntl  # noqa: PLC0415 - not on Windows, where backends may enqueue

    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others who ask at the same time do not disturb
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def connection_file() -> Path | None:
    """The connection file of an engine that runs here, unless the environment names the database of another one."""
    path = default_data_dir() / CONNECTION_FILE
    # A killed engine leaves all its lines there, and what `up --dev` allowed is only for as long as it runs.
    if not os.access(path, os.R_OK) or not is_running(path.parent):
        return None
    given, its_own = _given_database(), dotenv_values(path, interpolate=False).get("DATABASE_URL")
    # Keys and permissions of one engine, of `up --dev` above all, are not for another one.
    return path if not given or given.replace("$", "%24") == its_own else None


def _given_database() -> str | None:
    given = given_variables()
    match found_in_files(given).get("database_url"):
        case None:
            return given.get("DATABASE_URL")
        case Unusable():
            return "no database that is known"
        case found:
            return found.text
