"""How Flower runs: with a password, on loopback, read-only. For `deploy/flower/flowerconfig.py`."""

import os

from dispatcher.errors import ConfigurationError
from dispatcher.settings import Settings

MAX_TASKS = 5_000  # one `deliver` covers any number of deliveries, so this is hours of history
OFFLINE_WORKERS_SECONDS = 24 * 60 * 60

# Tasks have no arguments; the result shows what a task did.
_COLUMNS = "name,state,result,received,runtime,worker,uuid"


def flower_options(settings: Settings) -> dict[str, object]:
    """Flower's options, under Flower's names for them. Raises ConfigurationError without a usable password."""
    password = settings.flower_password.get_secret_value()
    if not password:
        raise ConfigurationError(
            "DISPATCHER_FLOWER_PASSWORD is not set: Flower shows every task, so it needs a password"
        )
    if settings.flower_db is not None and not os.access(settings.flower_db.parent, os.W_OK):
        raise ConfigurationError(
            f"DISPATCHER_FLOWER_DB names a file in {settings.flower_db.parent}, where this process cannot write"
        )
    return {
        "address": "127.0.0.1",
        "basic_auth": [f"{settings.flower_user}:{password}"],
        "read_only": True,
        "persistent": settings.flower_db is not None,
        "db": str(settings.flower_db or ""),
        "max_tasks": MAX_TASKS,
        "purge_offline_workers": OFFLINE_WORKERS_SECONDS,
        "natural_time": False,
        "tasks_columns": _COLUMNS,
    }
