"""The blocks of code of a page, in the order in which a reader meets them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]

# A comment above a block carries what only the tests need:
#   example: NAME     its name in tests
#   not run: REASON   why no test runs it
#   received          it shows the body of a callback, not the output of the block above
#   server one, server two, each server: NAME      where it is typed, and its name: tests/guide runs it
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>example|not run|received|server one|server two|each server)"
    r"(?:: (?P<said>.+?))? -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


_SERVERS = {"server one": ("one",), "server two": ("two",), "each server": ("one", "two")}


@dataclass(frozen=True, slots=True)
class Block:
    """One block; `line` is the first line of its code."""

    page: str
    line: int
    language: str
    code: str
    mark: str | None
    said: str | None

    @property
    def place(self) -> str:
        """Page and line, for error messages."""
        return f"{self.page}:{self.line}"

    @property
    def servers(self) -> tuple[str, ...]:
        """On which servers it is typed; none if it does not say so."""
        return _SERVERS.get(self.mark or "", ())

    @property
    def name(self) -> str | None:
        """Its name in tests; None without one."""
        return self.said if self.mark == "example" else None


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page; `page` is its path in the checkout."""
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
