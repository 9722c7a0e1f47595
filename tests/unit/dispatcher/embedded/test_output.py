"""The output of many children on one terminal."""

import io
import os
from pathlib import Path

from dispatcher.embedded.output import ChildOutput, LogFile, PrefixedLines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_line_is_written_whole_with_the_name_of_its_child() -> None:
    stream = io.StringIO()
    output = ChildOutput(PrefixedLines(width=6, stream=stream))
    one, two = output.open("one"), output.open("two")

    os.write(one, b"half a")
    output.pump(0)
    os.write(two, b"between\n")
    output.pump(0)
    os.write(one, b" line\nand more\n\xff")
    output.pump(0)
    os.close(one)
    os.close(two)
    output.drain()

    assert stream.getvalue() == "two    | between\none    | half a line\none    | and more\none    | \ufffd\n"


def test_on_a_terminal_the_names_have_different_colours() -> None:
    stream = Terminal()
    output = ChildOutput(PrefixedLines(width=3, stream=stream))
    for name in ("one", "two"):
        writing = output.open(name)
        os.write(writing, b"x\n")
        os.close(writing)
        output.drain()

    assert stream.getvalue() == "\033[36mone | \033[0mx\n\033[33mtwo | \033[0mx\n"


def test_a_line_without_end_is_written_in_pieces_instead_of_kept_for_ever() -> None:
    stream = io.StringIO()
    output = ChildOutput(PrefixedLines(width=1, stream=stream))
    writing = output.open("a")
    for _ in range(4):
        os.write(writing, b"x" * 50_000)
        output.pump(0)

    assert stream.getvalue().count("x") >= 100_000
    os.close(writing)
    output.drain()


def test_lines_are_kept_in_a_file_of_their_owners_that_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    with LogFile(path, largest=1000) as log:
        output = ChildOutput(PrefixedLines(width=1, stream=io.StringIO()), log)
        writing = output.open("a")
        for number in range(200):
            os.write(writing, b"line %d\n" % number)
            output.pump(0)
        os.close(writing)
        output.drain()
    kept = [tmp_path / "engine.log.1", path]
    lines = "".join(file.read_text() for file in kept).splitlines()
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert lines == [f"a | line {number}" for number in range(200 - len(lines), 200)]
    assert len(lines) > 50
    assert {file.stat().st_mode & 0o777 for file in kept} == {0o600}
    assert max(file.stat().st_size for file in kept) < 1100
