"""`--metrics`: the address of a node's metrics, on the command line."""

import pytest

from workers.arguments import read


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("9101", ("127.0.0.1", 9101)),
        ("10.0.0.5:9101", ("10.0.0.5", 9101)),
        ("[::1]:9101", ("::1", 9101)),
        ("::1:9101", ("::1", 9101)),
    ],
)
def test_an_address_or_the_port_alone_is_taken(given: str, address: tuple[str, int]) -> None:
    (part,) = read(["deliver", "--metrics", given])
    assert part.options.metrics == address


@pytest.mark.parametrize("given", ["", "0", "65536", "metrics", "somewhere.example:9101", "127.0.0.1:", "-1", "٣"])
def test_anything_else_is_refused_with_status_2(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read(["deliver", f"--metrics={given}"])
    assert ended.value.code == 2
    assert "--metrics" in capsys.readouterr().err


def test_without_it_a_node_has_no_port() -> None:
    (part,) = read(["maintenance"])
    assert part.options.metrics is None
