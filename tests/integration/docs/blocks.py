"""The blocks of code of a page, in the order in which a reader meets them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]

# A comment above a block says of it what a reader need not see:
#   example: NAME     what tests call it by
#   not run: REASON   why no test runs it
#   received          that it shows the body of a callback, and not what the block above it printed
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>example|not run|received)(?:: (?P<said>.+?))? -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block; `line` is where its code begins."""

    page: str
    line: int
    language: str
    code: str
    mark: str | None
    said: str | None

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"{self.page}:{self.line}"

    @property
    def name(self) -> str | None:
        """What tests call it by, where they do."""
        return self.said if self.mark == "example" else None


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page, which is named by its path in the checkout."""
    text = (ROOT / page).read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start("code")) + 1,
            found["language"],
            found["code"],
            found["mark"],
            found["said"],
        )
        for found in _BLOCK.finditer(text)
    ]


def example(page: str, name: str) -> str:
    """The code of the block with this name."""
    (code,) = (block.code for block in blocks_of(page) if block.name == name)
    return code
