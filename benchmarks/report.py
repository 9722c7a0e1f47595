"""Shows the results of a run: as one table, and as a JSON document that another run can be compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.catalog import MEASURES
from benchmarks.row import Row
from benchmarks.targets import Judged, MeasureResult, MeasureResults, Target, Verdict, judge

_STYLES = {Verdict.OK: "green", Verdict.MISS: "bold red", Verdict.SKIPPED: "yellow"}
_CPU = ("worker_us", "postgres_us", "broker_us", "receiver_us")


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a run."""

    about: Mapping[str, str]  # machine, versions, which features of the product are on
    runs: int
    results: MeasureResults
    rows: Sequence[tuple[Row, Sequence[Judged]]]

    @property
    def judged(self) -> list[Judged]:
        return [one for _, judged in self.rows for one in judged]


def judge_rows(rows: Sequence[Row], results: MeasureResults) -> list[tuple[Row, list[Judged]]]:
    """The verdicts on all targets. A row that does not apply on this machine is skipped as a whole."""
    return [(row, _judge_row(row, results)) for row in rows]


def table(report: Report) -> Group:
    """Everything on one page."""
    facts = Text("\n".join(f"{name:>16}  {value}" for name, value in report.about.items()))
    return Group(facts, Text(), _figures(report), Text(), _verdicts(report))


def document(report: Report) -> dict[str, Any]:
    return {
        "about": dict(report.about),
        "runs": report.runs,
        "measures": {name: _result_document(result) for name, result in report.results.items()},
        "rows": {
            row.name: [
                {
                    "label": one.target.label,
                    "value": one.value,
                    "must": one.target.must,
                    "aim": one.target.aim,
                    "verdict": str(one.verdict),
                    "aim_reached": one.aim_reached,
                    "reason": one.reason,
                }
                for one in judged
            ]
            for row, judged in report.rows
        },
    }


def shown(value: float, unit: str) -> str:
    """A value formatted for people."""
    if unit == "%":
        return f"{value * 100:.0f} %"
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{number} {unit}".strip()


def _judge_row(row: Row, results: MeasureResults) -> list[Judged]:
    if reason := row.unless():
        return [Judged(target, Verdict.SKIPPED, reason=reason) for target in row.targets]
    return [judge(target, results) for target in row.targets]


def _figures(report: Report) -> Table:
    title = f"medians of up to {report.runs} runs; CPU microseconds for each delivery"
    figures = Table(title=title, title_justify="left")
    figures.add_column("measure")
    for heading in ("a second", "worker", "PostgreSQL", "broker", "receiver"):
        figures.add_column(heading, justify="right")
    figures.add_column("also")
    for measure in MEASURES:
        if measure.name in report.results:
            figures.add_row(measure.name, *_figure_cells(report.results[measure.name]))
    return figures


def _figure_cells(result: MeasureResult) -> list[str | Text]:
    reason = result.failed or result.skipped
    if reason:
        return ["", "", "", "", "", Text(f"{'failed' if result.failed else 'skipped'}: {reason}", style="yellow")]
    medians = result.medians
    cells: list[str | Text] = [f"{medians[name]:,.0f}" if name in medians else "" for name in ("rate", *_CPU)]
    rest = [f"{name} {value:,.4g}" for name, value in medians.items() if name not in {"rate", *_CPU}]
    return [*cells, ", ".join(rest)]


def _verdicts(report: Report) -> Table:
    verdicts = Table(title="targets", title_justify="left")
    verdicts.add_column("row", min_width=50)
    verdicts.add_column("compared with", no_wrap=True)
    for heading in ("found", "must", "aim"):
        verdicts.add_column(heading, justify="right", no_wrap=True)
    verdicts.add_column("verdict", min_width=15)
    for row, judged in report.rows:
        for number, one in enumerate(judged):
            title = Text.assemble((row.name, "bold"), f"  {row.title}") if number == 0 else Text()
            verdicts.add_row(title, one.target.label, *_bounds(one), _verdict_text(one))
    return verdicts


def _bounds(one: Judged) -> tuple[str, str, str]:
    target: Target = one.target
    sign = ">= " if target.more else "<= "
    value = shown(one.value, target.unit) if one.value is not None else ""
    return value, sign + shown(target.must, target.unit), sign + shown(target.aim, target.unit)


def _verdict_text(one: Judged) -> Text:
    remark = one.reason or ("aim reached" if one.aim_reached else "")
    return Text.assemble((str(one.verdict), _STYLES[one.verdict]), f"  {remark}" if remark else "")


def _result_document(result: MeasureResult) -> dict[str, Any]:
    return {
        "median": result.medians,
        "samples": [dict(sample) for sample in result.samples],
        "skipped": result.skipped,
        "failed": result.failed,
    }
