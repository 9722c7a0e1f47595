import pytest

from dispatcher.cli import output

ID = "01a1fda5-3403-7b8d-b39c-9f8aa9c76d7f"
COLUMNS = ["id", "state", "reason", "webhook"]
ROW = (ID, "discarded", None, "https://www.example.com/a/rather/long/path?secret=***")


@pytest.fixture(params=[60, 200])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    made = output.console

    def terminal() -> output.Console:
        console = made()
        console.width = request.param
        return console

    monkeypatch.setattr(output, "console", terminal)
    return int(request.param)


def test_a_row_is_readable_at_any_width(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(COLUMNS, [ROW, ROW])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    whole = " ".join(" ".join(lines).split())
    assert whole.count(ID) == 2
    assert whole.count("discarded") == 2
    if width == 60:
        assert lines[0].strip() == ID
        assert "reason" not in whole  # it says nothing
