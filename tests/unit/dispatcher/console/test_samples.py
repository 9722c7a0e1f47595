"""The programs that the portal shows are those of the documentation, which its tests run."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
SAMPLES = ROOT / "dispatcher/console/samples"


@pytest.mark.parametrize("name", ["receiver.py", "receiver.mjs"])
def test_a_receiver_is_that_of_the_examples(name: str) -> None:
    assert (SAMPLES / f"{name}.txt").read_text() == (ROOT / "examples/receiving" / name).read_text()


def test_the_trial_with_curl_is_that_of_the_documentation() -> None:
    trial = (SAMPLES / "try.sh.txt").read_text()
    assert f"<!-- example: by-hand -->\n```sh\n{trial}cat inbox" in (ROOT / "docs/receiving.md").read_text()
