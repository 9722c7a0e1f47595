"""Tables fit the terminal, whatever its width, and ids stay whole."""

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


def test_a_narrow_terminal_gets_the_id_on_a_line_of_its_own(printed: Printed) -> None:
    head, names, first, row = printed(60, ROW)
    assert (head, first) == ("id", ID)
    assert names.split() == ["state", "webhook", "attempts"]
    assert row.split()[0] == "discarded"
    assert "…" in row


def test_where_nothing_may_be_cut_each_row_is_a_block_with_all_of_it(printed: Printed) -> None:
    first, *others = printed(60, ROW, gives_way=())
    assert first == ID
    assert f"state discarded, webhook {URL}, attempts 3".replace(" ", "") == "".join(others).replace(" ", "")


def test_wide_characters_count_as_the_terminal_counts_them(printed: Printed) -> None:
    lines = printed(80, (ID, "discarded", None, "ホーム" * 20, 3))
    assert max(map(cell_len, lines)) <= 80


def test_into_a_pipe_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(COLUMNS, [(ID, "discarded", None, URL * 20, 3)], gives_way=["webhook"])
    assert URL * 20 in capsys.readouterr().out
