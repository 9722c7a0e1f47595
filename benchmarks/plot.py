"""Draws the throughputs of a run as bars in a PNG file."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.report import Report

_WIDTH, _LINE, _MARGIN, _NAMES, _FIGURES = 1100, 34, 24, 220, 130
_OURS, _OTHERS, _INK = "#2a6f97", "#b0b7bf", "#222222"
_BASELINES = {"naive", "bullmq", "bullmq-rows", "ceiling"}


def draw(report: Report, path: Path) -> None:
    """One bar for each measure with a rate; baselines are grey."""
    rates = {name: found.medians["rate"] for name, found in report.results.items() if "rate" in found.medians}
    font, large = ImageFont.load_default(16), ImageFont.load_default(20)
    image = Image.new("RGB", (_WIDTH, 2 * _MARGIN + _LINE * (len(rates) + 3)), "white")
    page = ImageDraw.Draw(image)
    page.text((_MARGIN, _MARGIN), f"A second, medians of {report.runs} runs", _INK, large)
    about = report.about
    page.text(
        (_MARGIN, _MARGIN + _LINE), f"{about['cores']} cores, {about['processor']}; {about['commit']}", _INK, font
    )
    room = _WIDTH - 2 * _MARGIN - _NAMES - _FIGURES
    for number, (name, rate) in enumerate(rates.items()):
        top = _MARGIN + _LINE * (number + 2) + 8
        length = max(round(room * rate / max(rates.values())), 1)
        left = _MARGIN + _NAMES
        page.text((_MARGIN, top + 2), name, _INK, font)
        page.rectangle((left, top, left + length, top + _LINE - 10), _OTHERS if name in _BASELINES else _OURS)
        page.text((left + length + 8, top + 2), f"{rate:,.0f}", _INK, font)
    image.save(path, "PNG")
