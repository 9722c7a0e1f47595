"""The features and defaults of the measured product, read from the product itself."""

import importlib.util

from sqlalchemy import Engine, text

from dispatcher.settings import Settings
from workers.results import record


def no_curl() -> str | None:
    """Why the curl transport cannot be measured, or None if it can."""
    return None if importlib.util.find_spec("pycurl") else "pycurl is not installed"


def switched_on(database: Engine, settings: Settings) -> dict[str, str]:
    """Which costs of a delivery the figures include, as seen in what a run has just recorded."""
    with database.connect() as connection:
        request = connection.execute(text("SELECT * FROM dispatcher.requests ORDER BY id DESC LIMIT 1")).first()
    if request is None:
        return {}
    signed = "signature" in request.headers_masked.lower()
    return {
        "signing": "on" if signed else "not in the callbacks of this version",
        "address check": "off" if settings.unsafe_allow_any_address else "on",
        "captured answers": f"on, up to {record.KEPT_BODY} bytes" if request.answer_headers else "none recorded",
        "logs": f"level {Settings.model_fields['log_level'].default}, to a file",
    }
