import io
import json

from dispatcher.embedded.json_lines import JsonLines


def test_what_servers_write_and_we_say_becomes_lines_of_the_kind_that_processes_write() -> None:
    shown = JsonLines(stream := io.StringIO())
    shown.line("api", '{"event": "said"}')
    shown.line("postgres", 'LOG:  "ready"\x1b[2J')
    shown.line("postgres", "")
    shown.say("\nThe engine is running.\n\n  API  http://127.0.0.1\n")
    own, *lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert own == {"event": "said"}
    assert [(line["process"], line["event"]) for line in lines] == [
        ("postgres", 'LOG:  "ready"\x1b[2J'),
        ("up", "The engine is running."),
        ("up", "API  http://127.0.0.1"),
    ]
    assert all(line["timestamp"].endswith("Z") and line["level"] == "info" for line in lines)
    assert stream.getvalue().isascii()
