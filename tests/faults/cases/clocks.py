"""A node whose clock is an hour off."""

import shutil
import subprocess
from collections.abc import Iterator

from tests.faults.cases.case import case
from tests.faults.rig import Rig


def why_no_other_clock() -> str | None:
    """Why a process cannot be given a clock of its own; None if it can."""
    return None if shutil.which("faketime") else "faketime is not on PATH"


def _variables(by: str) -> dict[str, str]:
    """What gives a process this clock. The program itself would stay between it and the signals that it is sent."""
    asked = ["faketime", "-f", by, "printenv", "LD_PRELOAD"]
    library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return {"LD_PRELOAD": library, "FAKETIME": by}


def _moved(rig: Rig, name: str, by: str) -> Iterator[None]:
    rig.stop(name)
    rig.start_node(name, **_variables(by))
    rig.await_node(name)
    yield
    rig.stop(name)
    rig.start_node(name)
    rig.await_node(name)


@case(
    "the clock of the maintenance worker is an hour ahead",
    "upkeep",
    promise=5,
    lasts=15,
    mails=True,
    why_not=why_no_other_clock,
)
def upkeep_ahead(rig: Rig) -> Iterator[None]:
    yield from _moved(rig, "upkeep", "+1h")


@case(
    "the clock of the maintenance worker is an hour behind",
    "upkeep",
    promise=5,
    lasts=15,
    mails=True,
    why_not=why_no_other_clock,
)
def upkeep_behind(rig: Rig) -> Iterator[None]:
    yield from _moved(rig, "upkeep", "-1h")


@case(
    "the clock of the node that delivers is an hour ahead", "deliver", promise=5, lasts=15, why_not=why_no_other_clock
)
def deliver_ahead(rig: Rig) -> Iterator[None]:
    yield from _moved(rig, "deliver", "+1h")


@case(
    "the clock of the node that delivers is an hour behind", "deliver", promise=5, lasts=15, why_not=why_no_other_clock
)
def deliver_behind(rig: Rig) -> Iterator[None]:
    yield from _moved(rig, "deliver", "-1h")


@case("the clock of the API is an hour ahead", "api", promise=5, lasts=15, why_not=why_no_other_clock)
def api_ahead(rig: Rig) -> Iterator[None]:
    yield from _moved(rig, "api", "+1h")


@case("the clock of the API is an hour behind", "api", promise=5, lasts=15, why_not=why_no_other_clock)
def api_behind(rig: Rig) -> Iterator[None]:
    yield from _moved(rig, "api", "-1h")
