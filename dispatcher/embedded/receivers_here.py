"""Development mode: which settings let callbacks go to receivers on this machine, on top of those that were given."""

from collections.abc import Mapping

from dispatcher.egress.special_addresses import SERVICES
from dispatcher.settings import environment_name

# What decides where callbacks may go. Whoever registers a webhook has to decide by the same as who sends.
DECIDING = tuple(
    environment_name(name)
    for name in ("allowed_networks", "allowed_hosts", "allowed_ports", "https_only", "unsafe_allow_any_address")
)
WARNING = (
    "DEVELOPMENT MODE: whoever registers a webhook can have any port of this machine from 1024 on called "
    "(127.0.0.0/8, ::1, localhost). Not for other people's webhooks"
)

_ADDED = {
    environment_name("allowed_networks"): "127.0.0.0/8,::1",
    environment_name("allowed_ports"): ",".join(str(port) for port in sorted(SERVICES) if port >= 1024),
}


def deciding(given: Mapping[str, str]) -> dict[str, str]:
    """Those of the variables given that decide where callbacks may go."""
    return {name: given[name] for name in DECIDING if given.get(name)}


def with_this_machine(given: Mapping[str, str]) -> dict[str, str]:
    """The variables given, with this machine's own addresses and every unprivileged port added to their lists."""
    added = {name: ",".join(filter(None, (given.get(name), more))) for name, more in _ADDED.items()}
    return {**given, **added}
