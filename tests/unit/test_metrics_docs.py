"""docs/metrics.md has every metric, as the code describes it."""

import re
from pathlib import Path

from dispatcher.api.metrics import families as api
from dispatcher.metrics.family import BUILD, Family, Kind
from dispatcher.states import Reason
from dispatcher.web.request_counts import DURATION, GROUP_SIZE, OTHER, REFUSALS
from workers.metrics import families as node
from workers.metrics.port import CHILDREN

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
FAMILIES: tuple[Family, ...] = (BUILD, DURATION, GROUP_SIZE, *api.FAMILIES, CHILDREN, *node.FAMILIES)


def sections() -> dict[str, set[tuple[str, ...]]]:
    """The rows of the tables of metrics, by their sections."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for section in PAGE.split("\n## ")[1:]:
        rows = re.findall(r"^\| `(dispatcher_\w+)` \| (\w+) \| (.*?) \| (.+) \|$", section, re.MULTILINE)
        if rows:
            found[section.partition("\n")[0]] = set(rows)
    return found


def row(family: Family) -> tuple[str, ...]:
    return family.shown_name, str(family.kind), ", ".join(f"`{label}`" for label in family.labels), family.says


def test_each_page_is_described_by_its_own_table() -> None:
    own = {BUILD, DURATION, GROUP_SIZE, api.REQUESTS, api.ACCEPTED, api.REFUSED, api.AT_QUOTA, api.UNCOUNTED}
    assert sections() == {
        "Of an API process": set(map(row, own)),
        "Of the whole installation": {row(family) for family in api.FAMILIES if family not in own},
        "Of a node": set(map(row, (BUILD, CHILDREN, *node.FAMILIES))),
    }


def test_every_value_of_a_label_is_told() -> None:
    values = {*REFUSALS.values(), OTHER, *node.OUTCOMES, *node.NOTICES_ENDED, node.KEPT_CLOSED}
    assert {value for value in values if f"`{value}`" not in PAGE} == set()
    assert {reason.value for reason in Reason} == {labels[1] for labels in node.DELIVERIES.series if labels[1]}


def test_names_follow_the_conventions() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"dispatcher_[a-z_]+", family.name)
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_ms", "_milliseconds"))
        assert family.says.endswith(".")
        assert (family.kind is Kind.HISTOGRAM) == bool(family.buckets)
        assert list(family.buckets) == sorted(family.buckets)
        assert not {"id", "account", "webhook", "event", "delivery", "key", "url"} & set(family.labels)
