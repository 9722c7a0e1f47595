"""A page of metrics, as Prometheus reads it."""

from dataclasses import dataclass

import requests
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True, slots=True)
class Exposition:
    """All samples of a page, and its text."""

    text: str
    samples: tuple[Sample, ...]

    def value(self, name: str, /, **labels: str) -> float:
        """The only sample with this name, these labels, and no other ones that are not empty."""
        found = self.find(name, **labels)
        assert found is not None, f"there is no {name}{labels} in\n{self.text}"
        return found

    def find(self, name: str, /, **labels: str) -> float | None:
        """The same; None if there is none."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and {label: value for label, value in sample.labels.items() if value} == labels
        ]
        assert len(found) < 2
        return found[0] if found else None

    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def label_values(self) -> set[str]:
        return {value for sample in self.samples for value in sample.labels.values()}

    def shows(self, word: str) -> bool:
        return word in self.text


def read(answer: requests.Response) -> Exposition:
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(answer.text)


def parsed(text: str) -> Exposition:
    return Exposition(text, tuple(s for family in text_string_to_metric_families(text) for s in family.samples))
