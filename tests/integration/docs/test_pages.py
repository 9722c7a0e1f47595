"""Every page with something to run is run from top to bottom, and no block is overlooked. The pages of the dialects
run in tests/dialects."""

import re
from pathlib import Path

from tests.integration.docs.blocks import ROOT, blocks_of

_PAGE = re.compile(r'^PAGE = "(.+)"$', re.MULTILINE)
_DRAWN = {"mermaid", "text"}


def test_every_page_with_something_to_run_is_run_to_its_end() -> None:
    names = ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md") if page.stem != "dialects")]
    to_run = {name for name in names if any(block.language not in _DRAWN for block in blocks_of(name))}
    modules = [module.read_text() for module in Path(__file__).parent.glob("test_*.py")]
    run = {page for module in modules if "reader.read_to_the_end()\n" in module for page in _PAGE.findall(module)}
    assert to_run - {"docs/backends.md"} == run  # its blocks are programs: test_backends.py runs each by itself
    assert len(run) >= 5


def test_every_fence_is_the_fence_of_a_block() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        name = page.relative_to(ROOT).as_posix()
        assert len(re.findall(r"^\s*(?:```|~~~)", page.read_text(), re.MULTILINE)) == 2 * len(blocks_of(name)), name
