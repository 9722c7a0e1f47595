"""Processes of the version before, on the tables of this one."""

import shutil
from collections.abc import Iterator

from tests.faults.cases.case import case
from tests.faults.cases.load import burst
from tests.faults.rig import Rig
from tests.releases import commit_of, newest_released, unpack

NODES = ("api", "deliver", "upkeep", "beat")


def why_no_version_before() -> str | None:
    """Why its code is not here; None if it is."""
    try:
        commit_of(newest_released())
    except LookupError as error:
        return f"the code of the release before is not in the history: {error}"
    return None


@case(
    "each process is replaced by one of the version before, under load, and later by one of this version again",
    "api deliver upkeep beat postgres valkey",  # no fault of servers meanwhile: what it does then cannot be changed
    promise=5,
    lasts=15,
    mails=True,
    why_not=why_no_version_before,
)
def version_before(rig: Rig) -> Iterator[None]:
    code = rig.folder / newest_released()
    unpack(newest_released(), code)
    for name in NODES:
        _replace(rig, name, PYTHONPATH=str(code))
    yield
    for name in NODES:
        _replace(rig, name)
    shutil.rmtree(code)


def _replace(rig: Rig, name: str, **variables: str) -> None:
    burst(rig)
    rig.stop(name)
    rig.start_node(name, plain=bool(variables), **variables)
    rig.await_node(name)
