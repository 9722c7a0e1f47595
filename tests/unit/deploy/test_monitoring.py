"""The rules for Prometheus and the dashboard for Grafana ask only for what there is, and each alert has a page."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from typing import Any

import pytest
import yaml

from dispatcher.db.heartbeat import API, DELIVERS, MAINTAINS
from dispatcher.metrics.family import Family, Kind
from dispatcher.states import State
from tests.deploy_files import DEPLOY, ROOT
from tests.each import each
from tests.unit.test_metrics_docs import FAMILIES
from workers.results.host_faults import Step

RULES = DEPLOY / "prometheus/dispatcher.rules.yml"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dispatcher.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
PAGE = (ROOT / "docs/alerts.md").read_text()

each_alert = pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
_SERIES = re.compile(r"\b(dispatcher_\w+)(?:\{([^}]*)\})?")
_GROUPED = re.compile(r"\bby \(([^)]*)\)")
# Values of labels that are not known before.
_OPEN = {
    "kind": {API, DELIVERS, MAINTAINS},
    "state": {*State, "now", "failed", "held_back"},
    "lease": {"sweep", "upkeep"},
    "step": set(Step),
}


def shown() -> dict[str, Family]:
    """Each family by the names that its samples have."""
    found = {}
    for family in FAMILIES:
        parts = ("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",)
        found |= {family.shown_name + part: family for part in parts}
    return found


def check(expression: str) -> None:
    """Fails if it asks for a metric, a label or a value that there is not."""
    labels = {"instance", "le"}
    for name, matchers in _SERIES.findall(expression):
        assert name in shown(), f"there is no metric {name}"
        family = shown()[name]
        labels |= set(family.labels)
        grows = re.search(rf"\b(rate|increase)\({name}", expression) is not None
        assert grows != (family.kind is Kind.GAUGE) or f"absent({name})" in expression, f"{name} is a {family.kind}"
        for label, value in re.findall(r"(\w+)(?:=|!=|=~|!~)\"([^\"]*)\"", matchers):
            assert label in family.labels, f"{name} has no label {label}"
            known = {labels[family.labels.index(label)] for labels in family.series if labels}  # type: ignore[index]
            assert value in {"", *known, *_OPEN.get(label, ())}, f"{name} has no {label} {value}"
    for grouped in _GROUPED.findall(expression):
        assert set(re.split(r",\s*", grouped)) <= labels, f"{expression} has no labels {grouped}"


@each_alert
def test_an_alert_asks_for_what_there_is(alert: dict[str, Any]) -> None:
    assert _SERIES.search(alert["expr"])
    check(alert["expr"])


@each_alert
def test_an_alert_says_how_bad_it_is_and_where_to_read_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(alert["annotations"]) == {"summary", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/alerts.md#{alert['alert'].lower()}"


def test_each_alert_has_a_section_and_each_section_an_alert() -> None:
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == [alert["alert"] for alert in ALERTS]


def test_every_symptom_that_customers_feel_has_an_alert() -> None:
    asked = {name for alert in ALERTS for name, _ in _SERIES.findall(alert["expr"])}
    assert asked >= {
        "dispatcher_oldest_due_seconds",
        "dispatcher_retry_overdue_seconds",
        "dispatcher_requests_total",
        "dispatcher_heartbeat_age_seconds",
        "dispatcher_host_faults",
        "dispatcher_notices_due",
        "dispatcher_partitions_ahead_seconds",
        "dispatcher_table_bytes",
        "dispatcher_clock_offset_seconds",
    }


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool on PATH: the rules are not parsed by Prometheus"
)
def test_prometheus_takes_the_rules() -> None:
    checked = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@each("panel", PANELS)
def test_a_panel_asks_for_what_there_is(panel: dict[str, Any]) -> None:
    assert panel["type"] == "row" or panel["targets"]
    for target in panel.get("targets", []):
        check(target["expr"])
        assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
    references = [target["refId"] for target in panel.get("targets", [])]
    assert len(references) == len(set(references))


def test_no_panel_covers_another() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert one["x"] + one["w"] <= 24


def test_every_metric_is_on_the_dashboard() -> None:
    drawn = {
        shown()[name]
        for panel in PANELS
        for target in panel.get("targets", [])
        for name, _ in _SERIES.findall(target["expr"])
    }
    assert {family.name for family in FAMILIES} - {family.name for family in drawn} == set()
