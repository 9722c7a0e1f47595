"""The calm screen, as a terminal of 80 columns gets it."""

import io
import re

import pytest
from rich.console import Console

from dispatcher.embedded.screen import CalmScreen


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def screen(shown: io.StringIO) -> CalmScreen:
    return CalmScreen(Console(file=shown, force_terminal=True, width=80, height=30, legacy_windows=False))


def last_picture(shown: io.StringIO, headline: str) -> list[str]:
    """The lines of what was drawn last."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown.getvalue())
    return text[text.rindex(headline) :].splitlines()


def test_it_shows_what_is_ready_what_starts_and_its_rows(screen: CalmScreen, shown: io.StringIO) -> None:
    with screen:
        for child in ("postgres", "migrate", "api"):
            screen.became(child, ready=False)
        screen.became("postgres", ready=True)
        screen.became("migrate", ready=None)
        assert [line.rstrip() for line in last_picture(shown, "Starting.")[2:]] == [
            "  Ready     postgres",
            "  Starting  api",
        ]
        screen.headline, screen.rows, screen.warnings = "Running.", {"Events": "7"}, ["Take care."]
        screen.became("api", ready=True)
    assert [line.rstrip() for line in last_picture(shown, "Running.")] == [
        "Running.",
        "",
        "Take care.",
        "",
        "  Ready   postgres, api",
        "  Events  7",
    ]


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("2026-11-27T16:35:26.77Z [error    ] it broke   [app]", "deliver: it broke   [app]"),
        ('{"event": "it broke", "level": "critical"}', 'deliver: {"event": "it broke"'),
        ("2026-11-27 16:35:26.779 UTC [11] FATAL:  it broke", "deliver: FATAL:  it broke"),
        ("[E 261127 17:01:51 events:228] it broke \x1b[2J", "deliver: [E 261127 17:01:51 events:228] it broke "),
        ("2026-11-27T16:35:26.77Z [info     ] fine", None),
        ("2026-11-27 16:35:26.779 UTC [11] ERROR:  duplicate key value", None),
    ],
)
def test_errors_are_seen_and_other_lines_are_not(
    screen: CalmScreen, shown: io.StringIO, line: str, seen: str | None
) -> None:
    with screen:
        screen.line("deliver", line)
        screen.became("api", ready=True)
    picture = "\n".join(last_picture(shown, "Starting."))
    assert (seen in picture) if seen else ("deliver" not in picture)
    assert "\x1b[2J" not in shown.getvalue()


def test_of_many_errors_the_last_are_seen_with_their_number_a_line_each(screen: CalmScreen, shown: io.StringIO) -> None:
    with screen:
        for number in range(12):
            screen.line("api", f"2026-11-27T16:35:26.77Z [error    ] number {number} {'x' * 200}")
        screen.became("api", ready=True)
    picture = last_picture(shown, "Starting.")
    assert "Errors: 12, the last ones:" in picture
    assert [re.findall(r"number \d+", line) for line in picture[-5:]] == [[f"number {n}"] for n in range(7, 12)]
    assert max(map(len, picture)) <= 80


def test_the_last_words_of_a_child_that_failed_and_the_errors_are_all_that_stays(
    screen: CalmScreen, shown: io.StringIO
) -> None:
    def fail() -> None:
        with screen:
            screen.headline = "Running."
            screen.line("api", "Traceback")
            screen.line("beat", "fine")
            screen.became("beat", ready=True)
            screen.line("api", "2026-11-27T16:35:26.77Z [error    ] it broke")
            screen.last_words("api")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert "The last output of api:\n  Traceback\n" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown.getvalue())
    stays = [line.rstrip() for line in last_picture(shown, "Errors: 1")]
    assert [stays[0], stays[1][9:]] == ["Errors: 1, the last ones:", "api: it broke"]
    drawn_last = shown.getvalue().rpartition("\x1b[2K")[2]
    assert not any(word in drawn_last for word in ("Running", "beat", "Stopped"))
