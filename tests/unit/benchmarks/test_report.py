"""What a run shows: the table, the document, the comparison, the plot; and the rows themselves."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import bullmq
from benchmarks.__main__ import app
from benchmarks.bench import FULL, QUICK
from benchmarks.catalog import MEASURES
from benchmarks.comparison import common_figures
from benchmarks.measures.circuit_breaker import steps_within
from benchmarks.plot import draw
from benchmarks.report import Report, document, judge_rows, shown, table
from benchmarks.row import Row
from benchmarks.rows import ROWS, measures_of
from benchmarks.targets import MeasureResult, Ratio, Target, Verdict

ROW = Row("fast", "how fast it is", (Target("naive", Ratio("single.rate", "naive.rate"), 2, 4),))


def report(rate: float = 300.0) -> Report:
    results = {
        "naive": MeasureResult([{"rate": 100.0, "worker_us": 5_000.0}]),
        "single": MeasureResult([{"rate": rate, "worker_us": 50.0, "child_mb": 70.0}]),
        "bullmq": MeasureResult(skipped="node is not installed"),
    }
    about = {"cores": "2", "processor": "a processor", "commit": "abc"}
    return Report(about, 3, results, judge_rows([ROW], results))


def printed(found: Report) -> str:
    console = Console(file=io.StringIO(), width=150)
    console.print(table(found))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_table_shows_figures_targets_verdicts_and_reasons() -> None:
    page = printed(report())
    for text in ("a processor", "5,000", "child_mb 70", "skipped: node is not installed", "3.00 x", ">= 2.00 x", "ok"):
        assert text in page
    assert "MISS" not in page
    assert "MISS" in printed(report(rate=150.0))


def test_a_row_that_does_not_apply_is_skipped_with_its_reason() -> None:
    ((_, (one,)),) = judge_rows([Row("fast", "", ROW.targets, unless=lambda: "not here")], {})
    assert (one.verdict, one.reason) == (Verdict.SKIPPED, "not here")


def test_the_document_is_json_with_everything_in_it() -> None:
    found = json.loads(json.dumps(document(report())))
    assert found["measures"]["single"]["median"] == {"rate": 300.0, "worker_us": 50.0, "child_mb": 70.0}
    assert found["measures"]["bullmq"]["skipped"] == "node is not installed"
    (target,) = found["rows"]["fast"]
    assert (target["value"], target["verdict"], target["aim_reached"]) == (3.0, "ok", False)


def test_two_documents_are_compared_by_the_figures_that_both_have(tmp_path: Path) -> None:
    before, after = document(report()), document(report(rate=600.0))
    del after["measures"]["naive"]
    assert list(common_figures(before, after)) == [
        ("single.rate", 300.0, 600.0),
        ("single.worker_us", 50.0, 50.0),
        ("single.child_mb", 70.0, 70.0),
    ]
    for name, found in (("before", before), ("after", after)):
        (tmp_path / name).write_text(json.dumps(found))
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "before"), str(tmp_path / "after")])
    assert result.exit_code == 0
    assert "2.00 !" in result.output


def test_the_plot_has_a_bar_for_each_rate_as_long_as_the_rate(tmp_path: Path) -> None:
    draw(report(), tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        pixels = [image.getpixel((x, y)) for y in range(image.height) for x in range(image.width)]
    ours, naive = pixels.count((42, 111, 151)), pixels.count((176, 183, 191))
    assert ours == pytest.approx(3 * naive, rel=0.02)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.352, "%", "35 %"), (1.234, "x", "1.23 x"), (12.34, "ms", "12.3 ms"), (1234.5, "", "1,234"), (180, "", "180")],
)
def test_values_are_shown_as_people_read_them(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_rows_and_measures_fit_together() -> None:
    names = [measure.name for measure in MEASURES]
    assert len(set(names)) == len(names)
    assert {name for row in ROWS for name in row.measures} == set(names)
    assert [measure.name for measure in measures_of([ROW])] == ["naive", "single"]
    for row in ROWS:
        for target in row.targets:
            assert target.keeps(target.aim, target.must), f"{row.name}: the aim lies below what must be"


def test_an_unknown_row_is_refused_with_the_names_of_all() -> None:
    result = CliRunner().invoke(app, ["--only", "nothing"])
    assert result.exit_code == 2
    assert "one-webhook" in result.output


def test_a_quick_run_has_less_of_everything() -> None:
    assert all(getattr(QUICK, name) < getattr(FULL, name) for name in ("naive", "single", "finished", "seconds"))
    assert QUICK.times(0.1).single == QUICK.single // 10
    assert QUICK.times(0.000001).single == 1


def test_the_steps_of_the_schedule_are_counted_in_shortened_time() -> None:
    assert [steps_within(seconds) for seconds in (0.26, 0.28, 0.82, 4.5)] == [0, 1, 2, 4]


def test_without_node_the_peer_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(bullmq.NotHere, match="node is not installed"):
        bullmq.installed.__wrapped__()


def test_the_lock_of_the_peer_names_no_host_for_its_packages() -> None:
    lock = json.loads((Path(bullmq.__file__).with_name("bullmq") / "package-lock.json").read_text())
    wanted = json.loads((Path(bullmq.__file__).with_name("bullmq") / "package.json").read_text())["dependencies"]
    assert not any("resolved" in package for package in lock["packages"].values())
    assert {name: lock["packages"][f"node_modules/{name}"]["version"] for name in wanted} == wanted
