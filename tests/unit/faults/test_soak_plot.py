"""The plot of a soak."""

from pathlib import Path
from xml.etree import ElementTree

from tests.faults.soak.growth import Sample
from tests.faults.soak.plot import draw
from tests.faults.soak.quantities import Kind

SVG = "{http://www.w3.org/2000/svg}"


def test_there_is_a_panel_of_each_kind_and_a_curve_of_each_quantity(tmp_path: Path) -> None:
    names = ["memory: deliver", "memory: <api>", "late: retry, half", "index: events_pkey"]
    draw(
        [Sample(at, dict.fromkeys(names, at * 1e6)) for at in (5.0, 10.0, 15.0)],
        {"events_pkey": "events"},
        tmp_path / "plot.svg",
    )
    drawn = ElementTree.parse(tmp_path / "plot.svg")
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"Memory, MB", "deliver", "<api>", "Late, seconds", "retry, half"} <= set(texts)
    assert "events_pkey" not in texts, "it grows by design, and would hide the others"
    assert len(list(drawn.iter(f"{SVG}g"))) == len(Kind)
    curves = [line.attrib["points"].split() for line in drawn.iter(f"{SVG}polyline")]
    assert [len(points) for points in curves] == [3, 3, 3]
    assert curves[0][-1] == "560.0,26.0", "the highest value is at the top, the newest on the right"
