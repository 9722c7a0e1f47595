"""Tables and sentences fit the terminal, whatever its width. Ids, and what is to be copied, stay whole."""

import re
from collections.abc import Callable

import pytest
from rich.cells import cell_len

from dispatcher.cli import output

ID = "01a1fda5-3403-7b8d-b39c-9f8aa9c76d7f"
URL = "https://www.example.com/a/rather/long/path?secret=***"
COLUMNS = ["id", "state", "reason", "webhook", "attempts"]
ROW = (ID, "discarded", None, URL, 3)

Printed = Callable[..., list[str]]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """Prints rows on a terminal so many columns wide."""
    made = output.console

    def run(width: int, *rows: tuple[object, ...], gives_way: tuple[str, ...] = ("webhook",)) -> list[str]:
        def terminal(*, stderr: bool = False) -> output.Console:
            console = made(stderr=stderr)
            console.width = width
            return console

        monkeypatch.setattr(output, "console", terminal)
        output.print_table(COLUMNS, rows, gives_way=gives_way)
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("width", [40, 50, 60, 70, 80, 100, 140, 200])
def test_it_fits_and_ids_are_whole(printed: Printed, width: int) -> None:
    lines = printed(width, ROW, ROW)
    assert max(map(cell_len, lines)) <= width
    whole = "\n".join(lines)
    assert whole.count(ID) == 2
    assert whole.count("discarded") == 2


def test_a_wide_terminal_shows_everything_in_a_line_each(printed: Printed) -> None:
    head, first, second = printed(140, ROW, ROW)
    assert head.split() == COLUMNS
    assert first == second
    assert first.split() == [ID, "discarded", "-", URL, "3"]


def test_what_says_nothing_goes_before_anything_is_cut(printed: Printed) -> None:
    full = 36 + 9 + 6 + len(URL) + 8 + 4 * 2
    assert "reason" in printed(full, ROW)[0]
    head, row = printed(full - 1, ROW)
    assert "reason" not in head
    assert URL in row


def test_what_gives_way_is_cut_with_an_ellipsis_and_nothing_else_is(printed: Printed) -> None:
    head, row = printed(80, ROW)
    assert head.split() == ["id", "state", "webhook", "attempts"]
    identifier, state, url, attempts = row.split()
    assert (identifier, state, attempts) == (ID, "discarded", "3")
    assert url.endswith("…")
    assert URL.startswith(url[:-1])
    assert len(printed(90, ROW)[1].split()[2]) == len(url) + 10  # and it widens with the terminal


def test_a_narrow_terminal_gets_two_lines_a_row_with_as_little_cut_as_possible(printed: Printed) -> None:
    head, below, first, second = printed(60, ROW)
    assert (head.split(), below.split()) == (["id", "state"], ["webhook", "attempts"])
    assert first.split() == [ID, "discarded"]
    assert second.startswith("  https://www.example.com/a/rather/long/path?secr…  3")
    assert printed(70, ROW)[3] == f"  {URL}  3"


def test_where_nothing_may_be_cut_each_row_is_a_block_with_all_of_it(printed: Printed) -> None:
    first, *others = printed(60, (ID, "discarded", "exhausted", f"{URL} {URL}", 3), gives_way=())
    assert first == ID
    assert others == ["  state: discarded  reason: exhausted", "  webhook:", f"  {URL}", f"  {URL}", "  attempts: 3"]


def test_wide_characters_count_as_the_terminal_counts_them(printed: Printed) -> None:
    lines = printed(80, (ID, "discarded", None, "ホーム" * 20, 3))
    assert max(map(cell_len, lines)) <= 80


def test_into_a_pipe_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(COLUMNS, [(ID, "discarded", None, URL * 20, 3)], gives_way=["webhook"])
    assert URL * 20 in capsys.readouterr().out


def test_sentences_are_wrapped_at_blanks_and_what_is_to_be_copied_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "`dispatcher delivery redeliver-many --account acme --reason exhausted`"
    sentence = f"nothing was found at {URL}: see the manual of this well-known product, or call {command} once more"

    def printed(width: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        output.print_error(sentence)
        output.print_line(sentence, stderr=True)
        text = capsys.readouterr().err
        return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()

    for width in (40, 60, 80):
        lines = printed(width)
        assert " ".join(lines) == f"Error: {sentence} {sentence}"
        assert [line for line in lines if command in line] == [command] * 2 if width < 80 else True
        assert sum(URL in line for line in lines) == 2
        assert all(cell_len(line) <= width or line in {command, URL + ":"} for line in lines), lines
    assert printed(80) != [f"Error: {sentence}", sentence]


def test_into_a_pipe_a_sentence_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_error("word " * 200)
    assert len(capsys.readouterr().err.splitlines()) == 1
