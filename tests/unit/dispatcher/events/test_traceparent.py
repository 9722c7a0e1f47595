import pytest

from dispatcher.events.event import read_traceparent
from tests.each import each

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize("given", [VALID, f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-ff"])
def test_a_valid_one_is_kept_as_it_is(given: str) -> None:
    assert read_traceparent(given) == given


@pytest.mark.parametrize("rest", ["", "-", "-what-comes-next"])
def test_of_a_newer_version_what_this_one_knows_is_kept(rest: str) -> None:
    assert read_traceparent(f"cc-{TRACE}-{PARENT}-01{rest}") == VALID


@each(
    "given",
    [
        None,
        17,
        VALID.encode(),
        "",
        VALID.upper(),
        f" {VALID}",
        f"{VALID}\n",
        f"{VALID}-more",
        f"{VALID}, {VALID}",
        f"ff-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01.",
        f"cc-{TRACE}-{PARENT}-0",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE[1:]}\0-{PARENT}-01",
        f"00_{TRACE}_{PARENT}_01",
        "\ud800",
    ],
)
def test_what_is_not_valid_is_left_out(given: object) -> None:
    assert read_traceparent(given) is None
