"""The output of many children on one terminal."""

import io
import os

from dispatcher.embedded.output import PrefixedOutput


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_line_is_written_whole_with_the_name_of_its_child() -> None:
    stream = io.StringIO()
    output = PrefixedOutput(width=6, stream=stream)
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
    output = PrefixedOutput(width=3, stream=stream)
    for name in ("one", "two"):
        writing = output.open(name)
        os.write(writing, b"x\n")
        os.close(writing)
        output.drain()

    assert stream.getvalue() == "\033[36mone | \033[0mx\n\033[33mtwo | \033[0mx\n"


def test_a_line_without_end_is_written_in_pieces_instead_of_kept_for_ever() -> None:
    stream = io.StringIO()
    output = PrefixedOutput(width=1, stream=stream)
    writing = output.open("a")
    for _ in range(4):
        os.write(writing, b"x" * 50_000)
        output.pump(0)

    assert stream.getvalue().count("x") >= 100_000
    os.close(writing)
    output.drain()
