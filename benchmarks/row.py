"""One row of the benchmark. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.targets import Target


@dataclass(frozen=True, slots=True)
class Row:
    """One row of targets. `unless` returns why they do not apply here, or None."""

    name: str
    title: str
    targets: tuple[Target, ...]
    unless: Callable[[], str | None] = lambda: None

    @property
    def measures(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for target in self.targets for name in target.value.needs))
