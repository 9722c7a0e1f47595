"""All cases by name, and the few of a short run."""

from tests.faults.cases import broker, clocks, database, mail, network, processes, receivers, releases
from tests.faults.cases.case import CASES, Case

# Each adds its cases when it is loaded.
MODULES = processes, database, broker, network, receivers, mail, clocks, releases
BY_NAME: dict[str, Case] = {case.name: case for case in CASES}
STORM = "storm"  # a case of its own kind: it has a rig of its own
SHORT = (
    "child-killed",
    "api-killed",
    "postgres-immediate-restart",
    "commit-answers-lost",
    "broker-flushed",
    "receiver-closes-idle",
)
