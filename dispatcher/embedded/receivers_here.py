"""Development mode: the settings that let callbacks go to receivers on this machine, added to the given ones."""

from collections.abc import Mapping

from dispatcher.egress.special_addresses import SERVICES
from dispatcher.settings import environment_name

# The settings that decide where callbacks may go. Registration and delivery must use the same ones.
DECIDING = tuple(
    environment_name(name)
    for name in ("allowed_networks", "allowed_hosts", "allowed_ports", "https_only", "unsafe_allow_any_address")
)

_ADDED = {
    environment_name("allowed_networks"): "127.0.0.0/8,::1",
    environment_name("allowed_ports"): ",".join(str(port) for port in sorted(SERVICES) if port >= 1024),
}


def deciding(given: Mapping[str, str]) -> dict[str, str]:
    """The given variables that decide where callbacks may go."""
    return {name: given[name] for name in DECIDING if given.get(name)}


def with_this_machine(given: Mapping[str, str]) -> dict[str, str]:
    """The given variables, with this machine's own addresses and every unprivileged port added to their lists."""
    added = {name: ",".join(filter(None, (given.get(name), more))) for name, more in _ADDED.items()}
    return {**given, **added}
